import pytest

from policies.errors import LetheError
from services.patience import PASSING, patiently


def failing(*codes: str) -> tuple[list[str], object]:
    left = list(codes)
    done: list[str] = []

    def call() -> str:
        done.append("called")
        if left:
            raise LetheError(left.pop(0), "not now")
        return "kept"

    return done, call


@pytest.mark.parametrize("code", sorted(PASSING))
def test_what_passes_is_waited_out(code: str) -> None:
    done, call = failing(code, code)
    assert patiently(call, for_s=30, pause_s=0.001) == "kept"  # type: ignore[arg-type]
    assert len(done) == 3


@pytest.mark.parametrize("code", ["run.stale_attempt", "store.corrupt", "lifecycle.guarded"])
def test_what_does_not_pass_is_said_at_once(code: str) -> None:
    done, call = failing(code)
    with pytest.raises(LetheError) as told:
        patiently(call, for_s=30)  # type: ignore[arg-type]
    assert (told.value.code, len(done)) == (code, 1)


def test_an_outage_that_lasts_is_told_by_its_own_code() -> None:
    _, call = failing(*["store.unreachable"] * 10_000)
    with pytest.raises(LetheError) as told:
        patiently(call, for_s=0.05, pause_s=0.001, longest_pause_s=0.01)  # type: ignore[arg-type]
    assert told.value.code == "store.unreachable"


def test_a_fault_of_the_code_is_none_of_its_business() -> None:
    def broken() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        patiently(broken, for_s=30)
