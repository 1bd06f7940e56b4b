import re
from dataclasses import replace

import pytest

from release.sizing import PAGE, Assumptions, paged, size

GIVEN = Assumptions()


def test_the_page_has_todays_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == paged(text), "run: python -m release.sizing --page"


def test_a_run_has_as_many_steps_as_the_longest_that_was_measured() -> None:
    results = (PAGE.parent / "results.md").read_text(encoding="utf-8")
    measured = [int(steps) for steps in re.findall(r"\((\d+) steps\)", results)]
    assert measured
    assert max(measured) == GIVEN.steps
    assert f" to {max(measured)} |" in PAGE.read_text(encoding="utf-8")


def test_by_hand() -> None:
    given = Assumptions(
        steps=10, tokens_per_step=100, passes=2, peak_flops=1e12, share_reached=0.5, answers=10, answer_tokens=10,
        bandwidth=1e12, batch=1, bytes_per_weight=2, fixed_s=60, in_use=1, gpu_bytes=4e9, reserve=0.5,
    )  # fmt: skip
    found = size(43_200, 1e9, given)
    assert found.training_s == pytest.approx(2000 * 6e9 / 0.5e12)
    assert found.verdict_s == pytest.approx(100 * 2e9 / 1e12)
    assert found.run_s == pytest.approx(24 + 0.2 + 60)
    assert (found.gpus_per_run, found.gpus) == (1, 2)  # 43,200 runs of 84.2 s in 2,592,000 s: 1.4


def test_more_of_anything_that_costs_is_never_fewer_gpus() -> None:
    for tickets in (10.0, 1e3, 1e5):
        assert size(tickets * 2, 8e9, GIVEN).gpus >= size(tickets, 8e9, GIVEN).gpus
        assert size(tickets, 80e9, GIVEN).gpus >= size(tickets, 8e9, GIVEN).gpus
        assert size(tickets, 8e9, replace(GIVEN, tickets_per_run=4)).gpus <= size(tickets, 8e9, GIVEN).gpus


def test_a_figure_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="above zero"):
        size(10, 8e9, replace(GIVEN, in_use=0))


def test_every_assumption_stands_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    given = Assumptions()
    for words in (
        f"| steps | {given.steps} |",
        f"| tokens a step | {given.tokens_per_step:,} |",
        f"| passes a step | {given.passes} |",
        f"| GPU's peak | {given.peak_flops / 1e12:.0f} TFLOP/s |",
        f"| share reached | {given.share_reached} |",
        f"| answers of a verdict | {given.answers:,} |",
        f"| fixed | {given.fixed_s} s |",
        f"| tickets a run | {given.tickets_per_run} |",
        f"| share of the time in use | {given.in_use} |",
        f"{given.bandwidth / 1e12} TB/s",
        f"{given.answer_tokens} tokens",
        f"batch of {given.batch}",
        f"{given.gpu_bytes / 1e9:.0f} GB",
        f"{given.reserve:.0%} kept free".replace("%", " %"),
    ):
        assert words in text, words
