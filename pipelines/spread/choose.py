"""Which adapter the settings ask for."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.spread.port import EMBEDDED, Spread


@contextmanager
def spread_over(address: str) -> Iterator[Spread]:
    """This process where no address is given, else the Ray cluster there.

    Raises:
        LetheError: ``ray.not_installed``, ``ray.unavailable``.
    """
    if not address:
        yield EMBEDDED
        return
    from pipelines.spread.over_ray import over_ray

    with over_ray(address) as cluster:
        yield cluster
