"""The register of senders: who may file over a protocol, and by what each proves who it is.

A sender's word that the person was recognised counts only where an operator said so (``attests``). Secrets of
signatures have to be readable, so they are sealed under a key of the installation; of API keys only the hash is kept.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select
from sqlalchemy.orm import Session

from policies.errors import LetheError
from services import audit, auth
from services.auth import Identity
from services.intake.protocols.installation_seal import open_text, seal_text
from services.intake.protocols.sender_fields import check_domain, check_id
from services.store.protocol_tables import Sender
from services.store.tables import ApiKey
from services.store.types import utc_now

Kind = Literal["webhook", "transcend", "onetrust", "kertos", "opendsr", "csv"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BY_SIGNATURE = frozenset({"webhook"})
BY_TOKEN = frozenset({"transcend"})
BY_KEY = frozenset({"onetrust", "kertos", "opendsr", "csv"})
SECRET_PREFIX = "whsec_"  # noqa: S105 (how such a secret begins, after the Standard Webhooks convention)
SCOPE = "tickets:send"  # not tickets:submit: there a caller's word about the identity counts


@dataclass(frozen=True, slots=True)
class NewSender:
    """A sender just registered; its secret is shown once."""

    sender_id: str
    kind: Kind
    secret: str | None = field(repr=False)


def add_sender(
    session: Session,
    sender_id: str,
    kind: Kind,
    *,
    actor: str,
    base: str | None = None,
    regime: str | None = None,
    attests: bool = False,
    domains: Sequence[str] = (),
    public_key: str | None = None,
    at: datetime | None = None,
) -> NewSender:
    """Registers a sender.

    Args:
        session: A writing session.
        sender_id: A short word; part of its path and of its tickets' ids.
        kind: Which shape it sends.
        actor: Who registers it.
        base: The base model meant where a message names none.
        regime: The law meant where a message names none.
        attests: Whether its word that the person was recognised counts.
        domains: Hosts to which callbacks may go, exactly these.
        public_key: PEM; of a sender that signs tokens (Transcend).
        at: When; now by default.

    Raises:
        LetheError: ``sender.exists``, ``sender.invalid``.
    """
    check_id(sender_id)
    if session.get(Sender, sender_id) is not None:
        raise LetheError("sender.exists", "There is a sender of this id, or was.")
    if (kind in BY_TOKEN) != (public_key is not None):
        raise LetheError("sender.invalid", "A sender that signs tokens, and no other, has a public key.")
    moment = at or utc_now()
    row = Sender(
        sender_id=sender_id,
        kind=kind,
        base=base,
        regime=regime,
        attests=attests,
        domains=[check_domain(one) for one in domains],
        public_key=None if public_key is None else _checked_key(public_key),
        created_at=moment,
    )
    session.add(row)
    shown = _new_secret(session, row, actor, moment)
    session.flush()
    facts = {"sender": sender_id, "kind": kind, "attests": attests, "domains": row.domains, "actor": actor}
    audit.append(session, kind="sender.added", payload=facts, at=moment)
    return NewSender(sender_id, kind, shown)


def list_senders(session: Session) -> list[Sender]:
    """All senders, revoked ones too."""
    return list(session.scalars(select(Sender).order_by(Sender.sender_id)))


def get_sender(session: Session, sender_id: str) -> Sender:
    """One sender.

    Raises:
        LetheError: ``sender.not_found``.
    """
    row = session.get(Sender, sender_id)
    if row is None:
        raise LetheError("sender.not_found", "There is no such sender.")
    return row


def rotate_sender(
    session: Session, sender_id: str, *, actor: str, overlap: timedelta = timedelta(), at: datetime | None = None
) -> NewSender:
    """A new secret or API key; the old one counts for the overlap.

    Raises:
        LetheError: ``sender.not_found``, ``sender.revoked``; ``sender.invalid`` for one whose key is its own.
    """
    row, moment = get_sender(session, sender_id), at or utc_now()
    if row.revoked_at is not None:
        raise LetheError("sender.revoked", "This sender was revoked.")
    if row.kind in BY_TOKEN:
        raise LetheError("sender.invalid", "This sender signs with a key of its own: revoke it and add it anew.")
    if row.key_id is not None:
        until = moment + overlap if overlap else None
        made = auth.rotate_key(session, row.key_id, actor=actor, overlap_until=until, at=moment)
        row.key_id, shown = made.key_id, made.token
    else:
        row.old_secret, row.old_until = (row.secret, moment + overlap) if overlap else (None, None)
        shown = _new_secret(session, row, actor, moment) or ""
    session.flush()
    audit.append(session, kind="sender.rotated", payload={"sender": sender_id, "actor": actor}, at=moment)
    return NewSender(sender_id, row.kind, shown)  # type: ignore[arg-type]


def revoke_sender(session: Session, sender_id: str, *, actor: str, at: datetime | None = None) -> None:
    """Nothing of this sender counts from now on, and its callbacks end. Doing it twice is the same as once.

    Raises:
        LetheError: ``sender.not_found``.
    """
    row, moment = get_sender(session, sender_id), at or utc_now()
    if row.revoked_at is not None:
        return
    row.revoked_at = moment
    row.secret = row.old_secret = row.old_until = None
    for key_id in session.scalars(select(ApiKey.key_id).where(ApiKey.holder == f"sender:{sender_id}")).all():
        auth.revoke_key(session, key_id, actor=actor, at=moment)  # the ones that were rotated away too
    session.flush()
    audit.append(session, kind="sender.revoked", payload={"sender": sender_id, "actor": actor}, at=moment)


def secrets_of(session: Session, sender: Sender, now: datetime) -> list[bytes]:
    """What this sender's signatures may be made with now: the secret, and the old one during its overlap."""
    old = sender.old_secret if sender.old_until is not None and now < sender.old_until else None
    sealed = [one for one in (sender.secret, old) if one is not None]
    return [_raw(open_text(session, one, f"sender/{sender.sender_id}")) for one in sealed]


def sender_of_key(session: Session, who: Identity, *kinds: Kind) -> Sender:
    """The sender whose API key asks.

    Raises:
        LetheError: ``sender.unknown_key``: the key is nobody's, or that of a sender of another kind.
    """
    kind, _, sender_id = who.actor.partition(":")
    row = session.get(Sender, sender_id) if kind == "sender" else None
    if row is None or row.kind not in kinds or row.revoked_at is not None:
        raise LetheError("sender.unknown_key", "This key belongs to no sender of this kind.")
    return row


def identity_of_sender(sender: Sender) -> Identity:
    """How history and audit log name a sender that proved itself without an API key."""
    return Identity(sender.sender_id, frozenset({SCOPE}), None, f"sender:{sender.sender_id}")


def _new_secret(session: Session, row: Sender, actor: str, now: datetime) -> str | None:
    if row.kind in BY_KEY:
        made = auth.create_key(
            session,
            name=f"sender {row.sender_id}",
            scopes=[SCOPE],
            actor=actor,
            holder=f"sender:{row.sender_id}",
            at=now,
        )
        row.key_id = made.key_id
        return made.token
    if row.kind in BY_SIGNATURE:
        text = SECRET_PREFIX + secrets.token_hex(32)
        row.secret = seal_text(session, text, f"sender/{row.sender_id}")
        return text
    return None


def _raw(secret: str) -> bytes:
    return bytes.fromhex(secret.removeprefix(SECRET_PREFIX))


def _checked_key(pem: str) -> str:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise LetheError("sender.invalid", "The public key is not a P-384 key in PEM form.")
    return pem
