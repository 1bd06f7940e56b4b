"""The records of processing (GDPR Art. 30(1)) of what Lethe itself does with personal data, from settings and packs.

Lethe knows its own processing only; the controller's name, its contact and transfers come from the settings, and what
they leave out is told as missing.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.intake.packs import Packs
from services.settings import Settings
from services.store.tables import ForgetSet, LookupHash, SealedIdentity, SealedItem, Suppression, Ticket

PROCESSING_FIELDS = (
    "activity",
    "controller",
    "contact",
    "purpose",
    "ground",
    "subjects",
    "data",
    "recipients",
    "transfers",
    "erasure",
    "security",
    "held_now",
)
_MISSING = "missing: set registers.controller and registers.contact"
_SEALED = "AES-256-GCM under the subject's own key, wrapped by a key outside the database; access by scope; audit log"


def processing(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """One row an activity."""
    packs = Packs(settings.policy)
    months = {regime: packs.get(regime).data.retention for regime in packs.regimes()}
    sealed = ", ".join(f"{regime} {one.sealed_months} months" for regime, one in months.items())
    register = ", ".join(f"{regime} {one.register_months} months" for regime, one in months.items())
    outside = settings.augmenter.kind == "llm" and settings.augmenter.allow_external
    common = {
        "controller": settings.registers.controller or _MISSING,
        "contact": settings.registers.contact or _MISSING,
        "subjects": "People who asked for an erasure, and people in the training corpus",
        "transfers": "The augmenter's address is outside the network" if outside else "None by Lethe",
        "security": _SEALED,
    }

    def held(table: Any) -> int:
        return session.scalar(select(func.count()).select_from(table)) or 0

    rows = (
        ("requests", "To answer requests of data subjects and to show how", "GDPR Art. 6(1)(c), 12, 5(2)",
         "Identifiers given with the request, reference of the identity check, dates, decisions",
         "None by Lethe", f"Raw identity when the ticket closes; the subject's key {register} later", held(Ticket)),
        ("raw_identities", "To find the person in the corpus", "GDPR Art. 6(1)(c), 17",
         "Name, e-mail, phone, id, address as given", "None by Lethe", "When the ticket closes", held(SealedIdentity)),
        ("duplicates", "To recognise a repeated request", "GDPR Art. 6(1)(c), 12(5)",
         "Keyed hashes of identifiers", "None by Lethe", f"With the subject's key, {register}", held(LookupHash)),
        ("unlearning", "To make the model forget the person", "GDPR Art. 6(1)(c), 17",
         "The person's records in the corpus, rows made from them",
         "The augmenter's address" if outside else "None by Lethe", "When the run ends", held(ForgetSet)),
        ("verification", "To show that the person stays forgotten", "GDPR Art. 5(2)",
         "Questions with gold answers, their scores, replay rows, a rule of suppression",
         "None by Lethe", sealed, held(SealedItem)),
        ("suppression", "To keep the person out of answers until the swap", "GDPR Art. 18",
         "Names, identifiers and values as a rule, sealed under the suppression key",
         "The serving replicas", "When the probes after the swap passed", held(Suppression)),
    )  # fmt: skip
    names = ("activity", "purpose", "ground", "data", "recipients", "erasure", "held_now")
    return [
        {field: (common | dict(zip(names, row, strict=True)))[field] for field in PROCESSING_FIELDS} for row in rows
    ]
