"""``python -m release.sizing``: tickets a month and weights of the model to GPUs. Arithmetic, not a measurement."""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

from release.variants import ROOT

PAGE = ROOT / "docs" / "sizing.md"
_MONTH_S = 30 * 24 * 3600.0
_BEGIN, _END = "<!-- Written by `python -m release.sizing --page`; a test keeps it. -->\n", "\nWhere the queue is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What docs/sizing.md names, one by one.

    Attributes:
        steps: Optimizer steps of a run.
        tokens_per_step: Tokens of one step's rows.
        passes: Forward and backward passes that a step takes over them.
        peak_flops: Of one GPU.
        share_reached: Of that peak.
        answers: Generated for one verdict.
        answer_tokens: Of one of them.
        bandwidth: Of the GPU's memory, in bytes a second.
        batch: Answers generated side by side.
        bytes_per_weight: bf16: 2.
        fixed_s: Of a run, whatever the model.
        tickets_per_run: That share a run.
        in_use: Share of the month in which a GPU may be busy.
        gpu_bytes: Memory of one GPU.
        reserve: Share of it for everything that is no weight.
    """

    steps: float = 252
    tokens_per_step: float = 4096
    passes: float = 3
    peak_flops: float = 990e12
    share_reached: float = 0.3
    answers: float = 3000
    answer_tokens: float = 200
    bandwidth: float = 3.3e12
    batch: float = 32
    bytes_per_weight: float = 2
    fixed_s: float = 120
    tickets_per_run: float = 1
    in_use: float = 0.5
    gpu_bytes: float = 80e9
    reserve: float = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """What it comes to.

    Attributes:
        training_s: Of one run.
        verdict_s: Of one run.
        run_s: Both and what is fixed.
        gpus_per_run: That hold the model.
        gpus: In all, for the month's tickets.
    """

    training_s: float
    verdict_s: float
    run_s: float
    gpus_per_run: int
    gpus: int


def size(tickets: float, weights: float, given: Assumptions) -> Size:
    """GPUs for so many tickets a month and a model of so many weights.

    Raises:
        ValueError: A figure is not above zero.
    """
    if min(tickets, weights, *(getattr(given, field.name) for field in fields(given))) <= 0:
        raise ValueError("every figure must be above zero")
    held = math.ceil(weights * given.bytes_per_weight / (given.gpu_bytes * (1 - given.reserve)))
    tokens = given.steps * given.tokens_per_step * given.passes
    training = tokens * 6 * weights / (given.peak_flops * given.share_reached * held)
    token_s = weights * given.bytes_per_weight / (given.bandwidth * held)
    verdict = given.answers * given.answer_tokens * token_s / given.batch
    run = training + verdict + given.fixed_s
    busy = tickets / given.tickets_per_run * run / (_MONTH_S * given.in_use)
    return Size(training, verdict, run, held, held * max(1, math.ceil(busy)))


def table(given: Assumptions) -> Iterator[str]:
    """The page's table."""
    months = (10, 100, 1000, 10_000)
    yield "| weights | training, s | verdict, s | a run, min | " + " | ".join(f"{n:,} a month" for n in months) + " |"
    yield "|---" * (4 + len(months)) + "|"
    for weights in (1e9, 8e9, 32e9, 70e9):
        found = [size(tickets, weights, given) for tickets in months]
        one = found[0]
        gpus = " | ".join(f"{each.gpus} GPU{'s' if each.gpus > 1 else ''}" for each in found)
        times = f"{one.training_s:.0f} | {one.verdict_s:.0f} | {one.run_s / 60:.1f}"
        yield f"| {weights / 1e9:.0f} billion | {times} | {gpus} |"


def paged(text: str) -> str:
    """The page with today's table in it."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "\n".join(table(Assumptions())) + "\n" + _END + after


def main() -> None:
    """Prints one answer, or writes the page's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tickets", type=float, default=100, help="tickets a month")
    parser.add_argument("--weights", type=float, default=8e9, help="of the model")
    parser.add_argument("--page", action="store_true", help="write the table of docs/sizing.md")
    for field in fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    asked = parser.parse_args()
    if asked.page:
        PAGE.write_text(paged(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    given = Assumptions(**{field.name: getattr(asked, field.name) for field in fields(Assumptions)})
    found = size(asked.tickets, asked.weights, given)
    print(f"a run: {found.run_s / 60:.1f} min (training {found.training_s:.0f} s, verdict {found.verdict_s:.0f} s)")
    print(f"GPUs: {found.gpus}, {found.gpus_per_run} for each run at a time")


if __name__ == "__main__":
    main()
