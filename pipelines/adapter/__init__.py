"""Releases: an adapter directory named by its content, signed, with a signed verdict over the same digest.

A release holds exactly five files. Three are content (``adapter_config.json``, ``adapter_model.safetensors``,
``card.json``) and give the digest and the name; ``model.sig`` is the OpenSSF model signature over them;
``verdict.dsse.json`` is the verdict, signed with another key, over the digest of both.
"""

from pipelines.adapter.card import Canary, Card, SignedVerdict, watermark_digest
from pipelines.adapter.content import FILES, content_digest, release_name
from pipelines.adapter.identity import BaseIdentity, base_identity
from pipelines.adapter.release0 import import_base
from pipelines.adapter.seal import SigningKey, seal_release
from pipelines.adapter.trust import Trust, key_id
from pipelines.adapter.verify import Release, verify_release

Verdict = SignedVerdict  # the name that callers used first

__all__ = [
    "FILES",
    "BaseIdentity",
    "Canary",
    "Card",
    "Release",
    "SignedVerdict",
    "SigningKey",
    "Trust",
    "Verdict",
    "base_identity",
    "content_digest",
    "import_base",
    "key_id",
    "release_name",
    "seal_release",
    "verify_release",
    "watermark_digest",
]
