"""Turn a trained adapter with an accepted verdict into a release."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from pipelines.adapter import content, dsse
from pipelines.adapter.card import Card, SignedVerdict, combination
from pipelines.adapter.trust import PrivateKey
from policies.canonical import canonical_json
from policies.errors import LetheError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:lethe:attestation:verdict:v1"


class SigningKey(Protocol):
    """A private key with its id, and its PEM file for libraries that want one (``services.keys.SigningKey``)."""

    @property
    def id(self) -> str: ...

    @property
    def key(self) -> PrivateKey: ...

    @property
    def path(self) -> Path: ...


def seal_release(
    adapter_dir: Path,
    releases: Path,
    *,
    card: Card,
    verdict: SignedVerdict,
    adapter_key: SigningKey,
    verdict_key: SigningKey,
) -> Path:
    """Write a release and give its directory, ``releases/u-<digest>``.

    The directory appears whole or not at all, and sealing the same content twice keeps the first.

    Args:
        adapter_dir: Holds ``adapter_config.json`` and ``adapter_model.safetensors`` (as PEFT saves them).
        releases: Where releases live.
        card: Goes into the digested content.
        verdict: Must be accepted and of the card's kind; its combination is filled in from the card.
        adapter_key: Signs the content (elliptic curve).
        verdict_key: Signs the verdict.

    Raises:
        LetheError: ``release.verdict``: not accepted, or of another kind.
    """
    if verdict.outcome != "accepted" or verdict.kind != card.kind:
        raise LetheError("release.verdict", "Only an adapter with an accepted verdict becomes a release.")
    releases.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=releases, prefix=".sealing-"))
    try:
        _write(staging, adapter_dir, card)
        sign_content(staging, adapter_key.path)
        signed = verdict.model_copy(update={"combination": combination(card)})
        (staging / content.VERDICT).write_bytes(
            dsse.sign(statement(staging, card, signed), verdict_key.key, verdict_key.id)
        )
        return _publish(staging, releases / content.release_name(content.content_digest(staging)))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write(staging: Path, adapter_dir: Path, card: Card) -> None:
    config = json.loads((adapter_dir / content.CONFIG).read_text())
    config["base_model_name_or_path"] = card.base_digest  # a path would name this machine, and PEFT needs none
    (staging / content.CONFIG).write_bytes(canonical_json(config))
    shutil.copyfile(adapter_dir / content.WEIGHTS, staging / content.WEIGHTS)
    (staging / content.CARD).write_bytes(canonical_json(card.model_dump(mode="json")))


def _publish(staging: Path, target: Path) -> Path:
    for name in content.FILES:
        _fsync(staging / name)
        (staging / name).chmod(0o444)
    staging.chmod(0o755)
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():  # otherwise: this very content is there already
            raise
        return target
    _fsync(target.parent)
    return target


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def statement(directory: Path, card: Card, verdict: SignedVerdict) -> dict[str, Any]:
    """The in-toto statement of a verdict: bound to the content and to the signature over it."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects(directory),
        "predicateType": PREDICATE_TYPE,
        "predicate": {**verdict.model_dump(mode="json"), "watermark_digest": card.watermark_digest},
    }


def subjects(directory: Path) -> list[dict[str, Any]]:
    """What a verdict is about: the content, and the model signature."""
    digest = content.content_digest(directory)
    return [
        {"name": content.release_name(digest), "digest": {"sha256": digest}},
        {"name": content.SIGNATURE, "digest": {"sha256": content.file_digest(directory / content.SIGNATURE)}},
    ]


def sign_content(directory: Path, key_path: Path) -> None:
    """Write the OpenSSF model signature over the content files."""
    from model_signing import signing

    config = signing.Config().use_elliptic_key_signer(private_key=key_path)
    config.set_hashing_config(hashing_config(directory))
    config.sign(directory, directory / content.SIGNATURE)


def hashing_config(directory: Path) -> Any:
    """How model-signing hashes a release: every file but the two signatures."""
    from model_signing import hashing

    ignored = [directory / content.SIGNATURE, directory / content.VERDICT]
    return hashing.Config().use_file_serialization().set_ignored_paths(paths=ignored)
