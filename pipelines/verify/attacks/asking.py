"""Putting questions to the model under attack: in batches, with progress, and with an ear for a cancel."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.verify.attacks.port import AttackContext
from policies.errors import LetheError

if TYPE_CHECKING:
    from pipelines.model import LoadedModel


def ask(
    context: AttackContext,
    attack: str,
    prompts: Sequence[str],
    *,
    starts: Sequence[str] = (),
    model: "LoadedModel | None" = None,
) -> list[str]:
    """Greedy answers, in the order of the prompts.

    Args:
        context: Budgets, progress and cancel.
        attack: Whose progress it is.
        prompts: The users' turns.
        starts: The beginning of each answer; it is not in what is returned.
        model: Another model than the one under attack.

    Raises:
        LetheError: ``unlearn.cancelled``.
    """
    from pipelines import generation

    stop_if_cancelled(context)
    return generation.generate(
        model or context.loaded,
        prompts,
        max_new_tokens=context.settings.max_new_tokens,
        max_batch_tokens=context.settings.max_batch_tokens,
        starts=starts,
        progress=teller(context, attack),
    )


def teller(context: AttackContext, attack: str) -> Callable[[int, int], None]:
    """A progress callback (done, total) that also looks at the cancel flag."""

    def told(done: int, total: int) -> None:
        stop_if_cancelled(context)
        if context.progress:
            context.progress(attack, done, total)

    return told


def stop_if_cancelled(context: AttackContext) -> None:
    """Look at the cancel flag.

    Raises:
        LetheError: ``unlearn.cancelled``.
    """
    if context.should_cancel and context.should_cancel():
        raise LetheError("unlearn.cancelled", "The attacks were cancelled.")
