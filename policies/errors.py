"""One error class with stable codes; docs/errors.md lists them and a test keeps the two equal."""

from typing import NamedTuple


class ErrorKind(NamedTuple):
    """HTTP status of a code, and what the reader should do about it."""

    status: int
    remedy: str


# code -> what to do. A code is never renamed once released: clients match on it.
ERRORS: dict[str, ErrorKind] = {
    "unlearn.unknown_method": ErrorKind(422, "Choose one of the methods that the message lists."),
    "unlearn.secret_in_rows": ErrorKind(422, "Augment again: a row whose likelihood is raised holds what it should make the model forget."),
    "unlearn.no_rows": ErrorKind(422, "Augment the forget set first: at least one forget row and one retain row are needed."),
    "unlearn.diverged": ErrorKind(500, "Lower the learning rate, or let the run start from the base instead of the last release."),
    "unlearn.cancelled": ErrorKind(409, "Nothing was released. File or approve the ticket again to start anew."),
    "unlearn.bad_settings": ErrorKind(422, "Correct the settings named in the details."),
    "base.not_memorised": ErrorKind(500, "Train longer (--epochs) or on more phrasings of each fact; nothing can be shown to be forgotten otherwise."),
    "base.not_found": ErrorKind(404, "Name a directory with a Hugging Face causal language model, or one on the hub that can be reached."),
    "base.no_chat_template": ErrorKind(422, "Use an instruction-tuned model, or add a chat_template to its tokenizer."),
    "adapter.not_loadable": ErrorKind(409, "Check that the adapter was trained on this base; import or train it again."),
    "up.not_ready": ErrorKind(503, "Read the named log; most often a port is taken or the base is still loading."),
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
