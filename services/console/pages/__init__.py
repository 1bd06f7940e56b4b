"""The pages, one file each; every one adds its routes."""

from services.console.pages.audit_log import add_audit
from services.console.pages.board import add_board
from services.console.pages.calendar import add_calendar
from services.console.pages.claims import add_claims
from services.console.pages.letters import add_letters
from services.console.pages.login import add_login
from services.console.pages.matches import add_matches
from services.console.pages.policy import add_policy
from services.console.pages.releases import add_releases
from services.console.pages.suppressions import add_suppressions
from services.console.pages.ticket import add_ticket
from services.console.pages.verdict import add_verdict

PAGES = (
    add_login,
    add_board,
    add_matches,
    add_verdict,
    add_ticket,
    add_letters,
    add_claims,
    add_releases,
    add_suppressions,
    add_audit,
    add_calendar,
    add_policy,
)
