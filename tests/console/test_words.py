"""Every status and event of a ticket has words, a shape and a tone that the style knows."""

import re
from pathlib import Path

from policies.lifecycle import RunStatus, TicketEvent, TicketStatus
from policies.thresholds import Thresholds
from services.claims import FILED
from services.console import words
from services.console.pages.policy import MEANING
from services.deletion.work import Noted
from services.people.exemptions import RENEWED
from services.reports.gates import VIEWS

STYLE = Path(words.__file__).parent / "static" / "console.css"


def test_nothing_is_without_words() -> None:
    assert set(words.STATUS) == set(TicketStatus)
    assert set(words.EVENT) == {*TicketEvent, *Noted, FILED, RENEWED}
    assert {status for status, _ in words.RUN_STEPS} | set(words.RUN_ENDED) == set(RunStatus)
    assert all(shown.shape.strip() for shown in words.STATUS.values())


def test_every_threshold_of_a_policy_has_words() -> None:
    stems = {name: name.removesuffix("_min").removesuffix("_max") for name in Thresholds.model_fields}
    assert [name for name, stem in stems.items() if name not in MEANING and stem not in VIEWS] == []


def test_every_tone_is_in_the_style_and_the_style_loads_nothing_from_elsewhere() -> None:
    css = STYLE.read_text(encoding="utf-8")
    known = set(re.findall(r"\.badge\.(\w+)", css))
    assert {shown.tone for shown in words.STATUS.values()} <= known | {"over"}
    assert "url(" not in css
    assert "@import" not in css
