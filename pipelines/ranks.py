"""Several processes that hold one model and do one thing together: whose part is which, and how parts become one.

A rank is one of them; rank 0 is the one that was asked, and the only one that writes. What all of them come to hangs
on their number no more than a sum hangs on the order of its terms: batches are drawn and formed as for one process,
and only then dealt out.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

_T = TypeVar("_T")
_G = TypeVar("_G")
# Ranks wait for rank 0 as long as it does something alone. One that died is noticed by its connection and its status.
_PATIENCE = datetime.timedelta(days=7)


class Ranks:
    """A process that works alone: every part is its own. ``Group`` is one of several."""

    number = 0
    count = 1

    def split(self, items: Sequence[_T]) -> "tuple[list[_T], Share]":
        """This rank's items, and what they count in a mean over the items of all."""
        return list(items), WHOLE

    def deal(
        self, groups: Sequence[_G], work: Callable[[_G], _T], told: Callable[[int], None] = lambda _: None
    ) -> list[_T]:
        """Work on every group; the results in the order of the groups, on every rank.

        Args:
            groups: What is dealt.
            work: Done with each.
            told: Hears how many groups are done, as far as this rank can tell; what it raises ends the work.

        Raises:
            Exception: What work or ``told`` raise: on every rank, whichever of them met it.
        """
        return self._worked(groups, work, told)

    def _worked(self, groups: Sequence[_G], work: Callable[[_G], _T], told: Callable[[int], None]) -> list[_T]:
        found = []
        for group in groups[self.number :: self.count]:
            found.append(work(group))
            told(min(len(found) * self.count, len(groups)))
        return found

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all ranks in the place of each tensor."""

    def totals(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Each figure's sum over all ranks."""
        return dict(figures)

    def first(self, value: _T) -> _T:
        """What rank 0 says."""
        return value

    def equal(self, tensors: Sequence[Tensor]) -> None:
        """Make the tensors those of rank 0."""

    def tell(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Let the other ranks call a shared function too (``pipelines.shared``)."""

    def entering(self, name: str, *args: Any) -> AbstractContextManager[None]:
        """Let the other ranks enter a context too, and leave it with this one."""
        return nullcontext()

    def failed(self, error: BaseException) -> None:
        """Give up what the others were told: a call of this rank did not come to its end."""

    def end(self) -> None:
        """End the other ranks."""


ALONE = Ranks()


@dataclass(frozen=True, slots=True)
class Share:
    """What this rank's values count in a mean over the values of all.

    Attributes:
        ranks: All of them.
        counts: False where the values only stand in: a rank without a part does what the others do, for nothing.
    """

    ranks: Ranks = ALONE
    counts: bool = True

    def mean(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """This rank's part of the (weighted) mean over all ranks' values: the parts add up to it."""
        if self.ranks.count == 1:
            return values.mean() if weights is None else (values * weights).sum() / weights.sum()
        own = values.sum() if weights is None else (values * weights).sum()
        size = torch.tensor(values.numel(), dtype=torch.float64) if weights is None else weights.detach().sum().double()
        whole = self.ranks.totals({"": float(size) * self.counts})[""]
        return own * (self.counts / whole)


WHOLE = Share()


class Group(Ranks):
    """One of several processes, over torch.distributed: gloo between CPUs and for words, NCCL between GPUs.

    Args:
        number: Which one, from 0.
        count: How many there are.
        rendezvous: A file that all of them can open, in a private directory: no port stands open for others to join.
        cuda: Whether tensors are on GPUs.

    Attributes:
        agreed: What ``deal`` raised last: every rank has raised it, and each is ready for the next call.
    """

    def __init__(self, number: int, count: int, rendezvous: Path, *, cuda: bool) -> None:
        from torch import distributed

        self.number, self.count = number, count
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            init_method=rendezvous.as_uri(),
            rank=number,
            world_size=count,
            timeout=_PATIENCE,
        )
        self._distributed: Any = distributed
        self.agreed: Exception | None = None

    def split(self, items: Sequence[_T]) -> tuple[list[_T], Share]:
        """Every n-th item; one without any does the first for nothing."""
        mine = list(items[self.number :: self.count])
        return mine or list(items[:1]), Share(self, bool(mine))

    def deal(
        self, groups: Sequence[_G], work: Callable[[_G], _T], told: Callable[[int], None] = lambda _: None
    ) -> list[_T]:
        """Each works on every n-th group."""
        mine: list[_T] | Exception
        try:
            mine = self._worked(groups, work, told)
        except Exception as error:  # the others wait for an answer: they are told, and all raise it together
            mine = error
        parts: list[Any] = [None] * self.count
        self._distributed.all_gather_object(parts, mine)
        for part in parts:
            if isinstance(part, Exception):
                self.agreed = part
                raise part
        return [parts[place % self.count][place // self.count] for place in range(len(groups))]

    def add(self, tensors: Sequence[Tensor]) -> None:
        """One sum over all tensors together."""
        if not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])
        self._distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def totals(self, figures: Mapping[str, float]) -> dict[str, float]:
        """One sum over all figures together."""
        values = torch.tensor(list(figures.values()), dtype=torch.float64)
        self._distributed.all_reduce(values)
        return dict(zip(figures, values.tolist(), strict=True))

    def first(self, value: _T) -> _T:
        """Broadcast from rank 0."""
        said: list[Any] = [value if self.number == 0 else None]
        self._distributed.broadcast_object_list(said, src=0)
        told: _T = said[0]
        return told

    def equal(self, tensors: Sequence[Tensor]) -> None:
        """Broadcast from rank 0."""
        for tensor in tensors:
            self._distributed.broadcast(tensor.data, src=0)

    def leave(self) -> None:
        """Be no rank any more."""
        self._distributed.destroy_process_group()
