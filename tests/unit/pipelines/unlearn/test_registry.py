from collections.abc import Mapping
from typing import ClassVar

import pytest
from torch import Tensor

from pipelines.unlearn.registry import Step, Stream, method, methods, register
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


class Nothing:
    streams: ClassVar[tuple[Stream, ...]] = (Stream.RETAIN,)
    passes: ClassVar[float] = 1.0

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        return {}


def test_every_method_is_known_by_its_names() -> None:
    assert methods() == ("ga", "grad_ascent", "relearn", "relearn_npo")
    assert type(method("ga")) is type(method("grad_ascent"))


@pytest.mark.parametrize("name", ["GA", "learn", "re", "", "relearn "])
def test_a_name_must_be_exact(name: str) -> None:
    with pytest.raises(LetheError) as refused:
        method(name)
    assert refused.value.code == "unlearn.unknown_method"
    assert "relearn_npo" in refused.value.message


@pytest.mark.parametrize("names", [(), ("relearn",), ("new", "ga"), ("New",), ("2nd",), ("with space",), ("new\n",)])
def test_registration_is_strict(names: tuple[str, ...]) -> None:
    before = methods()
    with pytest.raises(ValueError):
        register(*names)(Nothing)
    assert methods() == before


def test_only_methods_that_lower_see_the_forgotten_answers() -> None:
    assert Stream.NEGATIVE not in method("relearn").streams
    assert method("ga").streams == (Stream.NEGATIVE,)
    assert Stream.NEGATIVE in method("relearn_npo").streams
