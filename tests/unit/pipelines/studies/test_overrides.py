"""Settings by name=value."""

from dataclasses import dataclass

import pytest

from pipelines.studies.overrides import overridden
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


@dataclass(frozen=True)
class Made:
    number: int = 1
    share: float = 0.5
    word: str = "a"
    switch: bool = False
    pair: tuple[int, ...] = (1,)


def test_every_kind_is_read() -> None:
    changed = overridden(Made(), ["number=1e3", "share=2", "word=b=c", "switch=yes"])
    assert changed == Made(number=1000, share=2.0, word="b=c", switch=True)
    assert overridden(Made(), []) == Made()


@pytest.mark.parametrize("text", ["nothing=1", "number=1.5", "number=x", "switch=perhaps", "number", "pair=1", ""])
def test_what_is_no_setting_is_named(text: str) -> None:
    with pytest.raises(LetheError) as refused:
        overridden(Made(), [text])
    assert refused.value.code == "study.bad_settings"
    assert refused.value.details == (text,)


def test_what_the_settings_refuse_stays_refused() -> None:
    with pytest.raises(LetheError) as refused:
        overridden(UnlearnSettings(), ["rank=0"])
    assert refused.value.code == "unlearn.bad_settings"
