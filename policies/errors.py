"""One error class with stable codes; docs/errors.md lists them and a test keeps the two equal."""

from typing import NamedTuple


class ErrorKind(NamedTuple):
    """HTTP status of a code, and what the reader should do about it."""

    status: int
    remedy: str


# code -> what to do. A code is never renamed once released: clients match on it.
ERRORS: dict[str, ErrorKind] = {
    "internal": ErrorKind(500, "See the service's log for the trace id; report it if it repeats."),
}


class LetheError(Exception):
    """A refusal or failure with a stable code. Its message never holds personal data.

    Args:
        code: A key of ``ERRORS``.
        message: What went wrong, in one sentence, without personal data.
        details: Every single fault, where there are several (a policy pack with three mistakes lists three).

    Raises:
        KeyError: The code is not registered, so the mistake shows in the first test that raises it.
    """

    def __init__(self, code: str, message: str, details: tuple[str, ...] = ()) -> None:
        self.kind = ERRORS[code]
        self.code = code
        self.message = message
        self.details = details
        super().__init__(f"{code}: {message}")

    def body(self) -> dict[str, object]:
        """The one error body of every API and of ``--json``."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "remedy": self.kind.remedy,
                "details": list(self.details),
            }
        }
