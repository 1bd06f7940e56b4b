import ast
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from torch import Tensor

from pipelines.rows import RowKind
from pipelines.unlearn import methods as methods_folder
from pipelines.unlearn.registry import KINDS, Method, Step, Stream, method, methods, register, row_kinds
from pipelines.unlearn.settings import UnlearnSettings
from policies.errors import LetheError


class Nothing(Method):
    streams: ClassVar[tuple[Stream, ...]] = (Stream.RETAIN,)

    def terms(self, step: Step, settings: UnlearnSettings) -> Mapping[str, Tensor]:
        return {}


def test_every_method_is_known_by_its_names() -> None:
    assert methods() == (
        *("dpo", "ga", "grad_ascent", "grad_diff", "idk_nll", "npo", "relearn", "relearn_dpo", "relearn_npo"),
        *("relearn_robust", "rmu", "satimp", "simnpo", "undial", "wga"),
    )
    assert type(method("ga")) is type(method("grad_ascent"))


@pytest.mark.parametrize("name", ["GA", "learn", "re", "", "relearn ", "po", "relearn_"])
def test_a_part_of_a_name_is_no_name(name: str) -> None:
    """The published code asks ``loss_type in "relearn"``, which "re" and "" pass."""
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


class OneSided(Nothing):
    streams: ClassVar[tuple[Stream, ...]] = (Stream.NEGATIVE, Stream.RETAIN)
    chosen: ClassVar[Stream | None] = Stream.REFUSAL


def test_a_method_with_pairs_names_both_sides() -> None:
    with pytest.raises(ValueError, match="both sides"):
        register("one_sided")(OneSided)


class Careless(Nothing):
    rehearses: ClassVar[bool] = True


def test_a_leak_is_rehearsed_with_forgotten_answers() -> None:
    with pytest.raises(ValueError, match="rehearses"):
        register("careless")(Careless)


RAW = {RowKind.NEGATIVE, RowKind.RETAIN}
AUGMENTED = {
    RowKind.FORGET,
    RowKind.COMPLETION,
    RowKind.NEIGHBOUR,
    RowKind.GENERIC,
    RowKind.REPLAY,
    RowKind.RETAIN,
}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        *((name, RAW) for name in ("grad_diff", "npo", "simnpo", "rmu", "undial", "wga", "satimp")),
        ("ga", {RowKind.NEGATIVE}),
        ("dpo", RAW | {RowKind.REFUSAL}),
        ("idk_nll", {RowKind.REFUSAL, RowKind.RETAIN}),
        ("relearn", AUGMENTED),
        ("relearn_npo", AUGMENTED | {RowKind.NEGATIVE}),
        ("relearn_dpo", AUGMENTED | {RowKind.NEGATIVE}),
        ("relearn_robust", AUGMENTED | {RowKind.NEGATIVE}),
    ],
)
def test_baselines_learn_from_the_raw_forget_set_and_relearn_from_the_augmented_one(
    name: str, kinds: set[RowKind]
) -> None:
    assert row_kinds(name) == kinds


def test_every_kind_of_row_belongs_to_one_stream() -> None:
    assert sorted(kind for kinds in KINDS.values() for kind in kinds) == sorted(RowKind)


def test_no_method_reaches_behind_the_types_that_keep_forgotten_answers_down() -> None:
    """Logits and states of forgotten answers are for ``lowering`` alone: a method only asks for losses."""
    behind = {"scored", "logits", "targets", "states", "vectors", "rejected", "token_nll", "row_nll", "row_nll_mean"}
    files = sorted(Path(methods_folder.__path__[0]).glob("*.py"))
    assert len(files) == 15
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        touched = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not touched & behind, file.name
