"""What a sender's id and its callback hosts may look like."""

import re

from policies.errors import LetheError

_ID = re.compile(r"[a-z][a-z0-9_]{1,31}")
_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}|localhost")


def check_id(sender_id: str) -> str:
    """The id, if it is one.

    Raises:
        LetheError: ``sender.invalid``.
    """
    if not _ID.fullmatch(sender_id):
        raise LetheError("sender.invalid", "A sender's id is 2 to 32 small letters, digits and _, a letter first.")
    return sender_id


def check_domain(host: str) -> str:
    """The host in lower case; names only: an address would pass by the name in its certificate.

    Raises:
        LetheError: ``sender.invalid``.
    """
    lower = host.strip().lower().rstrip(".")
    if not _HOST.fullmatch(lower) or lower.rpartition(".")[2].isdigit():
        raise LetheError("sender.invalid", "A domain is a host's name, without scheme, port or path.")
    return lower
