"""The door of the trainer: no row that becomes likelier may hold what is to be forgotten."""

from collections.abc import Sequence

from pipelines.rows import RowKind, Secret, TrainRow
from policies.errors import LetheError


def assert_no_secret(rows: Sequence[TrainRow], secrets: Sequence[Secret]) -> int:
    """Look at every row once more, whoever made it.

    Negative rows hold forgotten answers on purpose; only losses that lower their likelihood can reach them
    (``losses.Lowered``).

    Returns:
        How many rows were looked at.

    Raises:
        LetheError: ``unlearn.secret_in_rows``. The details name row ids and kinds of leak, never what leaked.
    """
    from pipelines.augment.leak import LeakCheck

    check = LeakCheck(secrets)
    raised = [row for row in rows if row.kind is not RowKind.NEGATIVE]
    found = [(row, check.row_leaks(row)) for row in raised]
    faults = tuple(
        f"{row.row_id} ({row.kind.value}): {', '.join(sorted({leak.kind for leak in leaks}))}"
        for row, leaks in found
        if leaks
    )
    if faults:
        raise LetheError("unlearn.secret_in_rows", f"{len(faults)} rows would train a forgotten secret.", faults)
    return len(raised)
