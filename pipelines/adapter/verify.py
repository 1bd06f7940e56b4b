"""The gate in front of every use of an adapter: what is not signed is not believed."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from pipelines.adapter import content, dsse, weights
from pipelines.adapter.card import Card, SignedVerdict, combination
from pipelines.adapter.identity import BaseIdentity
from pipelines.adapter.seal import PREDICATE_TYPE, STATEMENT_TYPE, hashing_config, subjects
from pipelines.adapter.trust import Trust, TrustedKey
from policies.canonical import sha256_hex
from policies.errors import LetheError
from policies.thresholds import Thresholds

MAX_RANK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A verified release.

    Attributes:
        path: Its directory.
        digest: Of its content.
        name: ``u-<digest16>``.
        card: How it was made.
        verdict: What was decided about it.
        adapter_key: Id of the key that signed the content.
        verdict_key: Id of the key that signed the verdict.
    """

    path: Path
    digest: str
    name: str
    card: Card
    verdict: SignedVerdict
    adapter_key: str
    verdict_key: str

    @property
    def watermark(self) -> frozenset[str]:
        """The tickets whose erasure this adapter carries."""
        return frozenset(self.card.watermark)


def verify_release(
    path: Path,
    trust: Trust,
    *,
    base: BaseIdentity | None = None,
    floor: Thresholds | None = None,
    required_watermark: Iterable[str] = (),
    expected_digest: str | None = None,
    base_shapes: Mapping[str, tuple[int, int]] | None = None,
    max_rank: int = MAX_RANK,
) -> Release:
    """Verify a release; torch is not needed.

    Args:
        path: The release's directory.
        trust: Keys that count.
        base: What the release must belong to; None skips it (an auditor without the base).
        floor: Least strict thresholds that are accepted; None skips it.
        required_watermark: Ticket ids that the adapter must carry.
        expected_digest: The digest that was asked for.
        base_shapes: ``weights.base_linear_shapes`` of the base; None skips the comparison.
        max_rank: The engine's limit.

    Raises:
        LetheError: ``release.*``, one code for each way to fail.
    """
    content.check_files(path)
    digest = content.content_digest(path)
    if expected_digest is not None and digest != expected_digest:
        raise LetheError("release.digest", "The content of the release is not the one that was asked for.")
    statement, verdict_key = dsse.open_envelope(
        (path / content.VERDICT).read_bytes(), lambda keyid: trust.find(keyid, "verdict")
    )
    _check_statement(statement, path)
    adapter_key = _check_signature(path, trust)
    card, verdict = _read(path, statement)
    _check_dates(card, adapter_key, verdict, verdict_key)
    _check_base(card, verdict, statement, base)
    _check_verdict(card, verdict, floor)
    _check_watermark(card, required_watermark)
    _check_weights(path, card, base_shapes, max_rank)
    return Release(
        path=path,
        digest=digest,
        name=content.release_name(digest),
        card=card,
        verdict=verdict,
        adapter_key=adapter_key.id,
        verdict_key=verdict_key.id,
    )


def _check_statement(statement: dict[str, Any], path: Path) -> None:
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise LetheError("release.signature", "The signed statement is no verdict.")
    if statement.get("subject") != subjects(path):
        raise LetheError("release.digest", "The files are not the ones that the verdict was signed for.")


def _check_signature(path: Path, trust: Trust) -> TrustedKey:
    """The key whose model signature over the content verifies."""
    try:
        bundle = json.loads((path / content.SIGNATURE).read_bytes())
        hint = bundle["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, KeyError, TypeError) as error:
        raise LetheError("release.signature", "The model signature cannot be read.") from error
    for key in trust.of("adapter"):
        pem = key.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if sha256_hex(pem) == hint:
            _verify_model_signature(path, pem)
            return key
    raise LetheError("release.unknown_key", "The adapter is signed by a key that is not trusted.")


def _verify_model_signature(path: Path, pem: bytes) -> None:
    from model_signing import verifying

    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pem)
        file.flush()
        config = verifying.Config().use_elliptic_key_verifier(public_key=file.name)
        config.set_hashing_config(hashing_config(path))
        try:
            config.verify(path, path / content.SIGNATURE)
        # Whatever a foreign bundle makes the library raise, the answer is the same: not signed.
        except Exception as error:
            raise LetheError("release.signature", "The model signature does not verify.") from error


def _read(path: Path, statement: dict[str, Any]) -> tuple[Card, SignedVerdict]:
    try:
        card = Card.model_validate_json((path / content.CARD).read_bytes())
        predicate = dict(statement["predicate"])
        if predicate.pop("watermark_digest") != card.watermark_digest:
            raise LetheError("release.watermark", "SignedVerdict and card do not name the same watermark.")
        return card, SignedVerdict.model_validate_json(json.dumps(predicate))
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        raise LetheError("release.card", "Card or verdict do not have the expected form.") from error


def _check_dates(card: Card, adapter_key: TrustedKey, verdict: SignedVerdict, verdict_key: TrustedKey) -> None:
    if not adapter_key.valid_at(card.created_at) or not verdict_key.valid_at(verdict.decided_at):
        raise LetheError("release.key_retired", "The release is dated outside the life of the key that signed it.")


def _check_base(card: Card, verdict: SignedVerdict, statement: dict[str, Any], base: BaseIdentity | None) -> None:
    if verdict.combination != combination(card) or verdict.kind != card.kind:
        raise LetheError("release.wrong_base", "The verdict was measured on another combination than the card names.")
    if base is None:
        return
    faults = tuple(
        name
        for name in ("base_digest", "tokenizer_digest", "chat_template_digest", "dtype", "quantisation")
        if getattr(card, name) != getattr(base, name)
    )
    if faults:
        raise LetheError("release.wrong_base", "The release was verified on another base than the one here.", faults)


def _check_verdict(card: Card, verdict: SignedVerdict, floor: Thresholds | None) -> None:
    if verdict.outcome != "accepted":
        raise LetheError("release.verdict", "The verdict on this release is not 'accepted'.")
    if card.kind == "release0":
        if card.watermark:
            raise LetheError("release.verdict", "A release 0 has an empty watermark.")
        return
    if verdict.thresholds is None:
        raise LetheError("release.verdict", "The verdict names no thresholds.")
    weaker = () if floor is None else verdict.thresholds.weaker_than(floor)
    if weaker:
        raise LetheError("release.below_floor", "The verdict was decided below this server's floor.", weaker)


def _check_watermark(card: Card, required: Iterable[str]) -> None:
    lacking = sorted(set(required) - set(card.watermark))
    if lacking:
        raise LetheError("release.watermark", "The adapter does not carry every closed ticket.", tuple(lacking))


def _check_weights(path: Path, card: Card, base_shapes: Mapping[str, tuple[int, int]] | None, max_rank: int) -> None:
    file = path / content.WEIGHTS
    tensors = weights.read_header(file)
    try:
        config: dict[str, Any] = json.loads((path / content.CONFIG).read_bytes())
    except ValueError as error:
        raise LetheError("release.config", "The adapter's configuration cannot be read.") from error
    weights.check_lora(config, tensors, base_shapes, max_rank)
    weights.check_finite(file, tensors)
    if card.kind == "release0":
        up = {name: tensor for name, tensor in tensors.items() if ".lora_B." in name}
        if not weights.all_zero(file, up):
            raise LetheError("release.verdict", "A release 0 changes nothing: its B must be zero.")
