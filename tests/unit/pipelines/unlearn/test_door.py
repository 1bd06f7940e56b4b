from dataclasses import replace

import pytest

from pipelines.rows import RowKind
from pipelines.unlearn.door import assert_no_secret
from policies.errors import LetheError
from tests.unit.pipelines.unlearn.rows import ROWS, SECRETS, row

RAISED = [kind for kind in RowKind if kind is not RowKind.NEGATIVE]


def test_clean_rows_pass_and_are_counted() -> None:
    assert assert_no_secret(ROWS, SECRETS) == sum(one.kind is not RowKind.NEGATIVE for one in ROWS)


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("answer", ["It is 5550123.", "It is 555-0123, I think.", "Five? No: 555 01 23."])
def test_a_leaking_row_of_any_kind_is_refused(kind: RowKind, answer: str) -> None:
    with pytest.raises(LetheError) as refused:
        assert_no_secret((*ROWS, row(99, kind, "What is it?", answer)), SECRETS)
    assert refused.value.code == "unlearn.secret_in_rows"
    assert refused.value.details == tuple(detail for detail in refused.value.details if f"{kind.value}-99" in detail)
    assert "0123" not in str(refused.value) + str(refused.value.details)


def test_a_prompt_may_leak_too() -> None:
    with pytest.raises(LetheError):
        assert_no_secret((row(1, RowKind.FORGET, "Is it 5550123?", "Nobody knows."),), SECRETS)


def test_a_secret_across_the_cut_of_a_completion_row_is_seen() -> None:
    cut = replace(row(1, RowKind.COMPLETION, "Her number is 555", "0123, they say."), chat=False)
    with pytest.raises(LetheError):
        assert_no_secret((cut,), SECRETS)


def test_negative_rows_hold_it_on_purpose() -> None:
    assert assert_no_secret([one for one in ROWS if one.kind is RowKind.NEGATIVE], SECRETS) == 0
