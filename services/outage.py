"""A loop that goes on while the store is away: said once when it goes, and once when it is back."""

import logging
import traceback
from types import TracebackType

from services.patience import passes


class Outage:
    """Around each turn of a loop: nothing that goes wrong in one turn ends the loop.

    A database that is away for an hour is two lines in the log, not one for each turn; whatever else goes wrong is said
    each time, by its code or its type and place: the text of a foreign error may hold a person's data.

    Args:
        log: Where it is said.
        what: Which loop.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log, self._what = log, what
        self._away = False

    def __enter__(self) -> None:
        """Begin a turn."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        """End a turn; True where an error ends here."""
        if error is None:
            if self._away:
                self._log.warning("%s: the store is back", self._what)
            self._away = False
            return False
        if not isinstance(error, Exception):
            return False
        code = getattr(error, "code", type(error).__name__)
        if not passes(error):
            self._log.error("%s: %s at %s", self._what, code, _place(error))
        elif not self._away:
            self._away = True
            self._log.warning("%s: the store is away: %s", self._what, code)
        return True


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{frame.filename.rpartition('/')[-1]}:{frame.lineno}"
