"""The routes of every protocol, added to the intake's app in one place."""

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI, Request

from services.auth import identity_of
from services.intake.desk import Desk
from services.intake.protocols.batches import add_batches
from services.intake.protocols.claims import add_claims
from services.intake.protocols.form import add_form
from services.intake.protocols.hooks import add_hooks
from services.intake.protocols.opendsr import add_opendsr
from services.intake.protocols.rates import Rates
from services.settings import Settings


def add_protocols(
    app: FastAPI,
    desk: Callable[[], Desk],
    settings: Settings,
    clock: Callable[[], datetime],
    trace_of: Callable[[Request], str | None],
    rates: Rates,
) -> None:
    """Add what the settings allow.

    Args:
        app: The intake's.
        desk: Where tickets are filed.
        settings: Of the installation.
        clock: The present moment.
        trace_of: The trace that a request belongs to.
        rates: How often who may ask.
    """
    add_hooks(app, desk, settings.protocols, clock, trace_of, rates)
    add_batches(app, desk, settings.protocols, clock, rates)
    add_claims(app, desk, settings.protocols, clock, rates)
    if settings.form.base:
        add_form(app, desk, settings, clock, rates)
    if settings.protocols.domain:
        add_opendsr(app, desk, settings.protocols, clock, trace_of, identity_of, rates)
