"""What a training learns again about the people who were forgotten before."""

from collections.abc import Mapping, Sequence

from pipelines.augment.leak import LeakCheck
from pipelines.augment.replay import Kept, Replayed
from pipelines.augment.replay import replayed as rows_again
from pipelines.rows import TrainRow
from services.unlearning.material import Earlier


def replayed(
    earlier: Sequence[Earlier],
    check: LeakCheck,
    *,
    new: Sequence[TrainRow],
    names: Mapping[str, Sequence[str]],
    held: Mapping[str, float | None],
    from_base: bool,
    seed: int,
) -> Replayed:
    """The rows that are sealed of people forgotten before, chosen as ``pipelines.augment.replay`` does.

    Args:
        earlier: Who was forgotten before; several tickets may be one person's.
        check: What no row may hold.
        new: The rows of this run.
        names: Of the people of this run, by subject.
        held: How well each of them held when last measured, 0 to 1.
        from_base: Whether the training starts from the base, where everybody has to be learned anew.
        seed: Of the run.
    """
    kept = [Kept(person.subject_ref, person.replay, person.own, person.negative, _names(person)) for person in earlier]
    return rows_again(kept, check, new=new, names=names, scores=held, from_base=from_base, seed=seed)


def _names(person: Earlier) -> tuple[str, ...]:
    return next((probe.names for probe in person.probes if probe.names), ())
