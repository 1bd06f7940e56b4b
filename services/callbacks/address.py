"""Where a callback may go: a registered host over https, at a public address, looked at when it is connected to.

A name is resolved once for each attempt and the connection goes to the very address that was checked: a name server
that answers otherwise a moment later changes nothing. The certificate is still checked against the name.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from policies.errors import LetheError

MAX_URL = 500
Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """One address to connect to, for one URL.

    Attributes:
        url: With the checked address in the place of the host's name.
        host: For the header ``Host``, with the port where it is not the usual one.
        name: For the certificate.
    """

    url: str
    host: str
    name: str


def check_url(url: str, domains: Collection[str], *, loopback: bool = False) -> SplitResult:
    """The parts of a callback address, if a callback may go there as far as the text says.

    Args:
        url: As the sender gave it.
        domains: Hosts that were registered for the sender.
        loopback: Only ``http://127.0.0.1`` and ``http://localhost`` (tests).

    Raises:
        LetheError: ``callback.address``, without the address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused("it is no URL") from None
    if len(url) > MAX_URL or not url.isascii() or any(letter <= " " or letter == "\\" for letter in url):
        raise _refused("it is too long, or holds letters that an address has not")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise _refused("it holds a user or a fragment")
    name = (parts.hostname or "").rstrip(".")
    if loopback:
        if parts.scheme != "http" or name not in {"127.0.0.1", "localhost"}:
            raise _refused("it is not on loopback")
        return parts
    if parts.scheme != "https":
        raise _refused("it is not https")
    if name not in domains:
        raise _refused("its host is not registered for this sender")
    if port not in {None, 443}:
        raise _refused("its port is not 443")
    return parts


def resolve(url: str, domains: Collection[str], *, loopback: bool = False, look_up: Resolve | None = None) -> Target:
    """An address of the host, checked; every address that the name has must be one that may be used.

    Args:
        url: As the sender gave it.
        domains: Hosts that are registered for the sender now.
        loopback: As in ``check_url``.
        look_up: The addresses of a name; None: the system's.

    Raises:
        LetheError: ``callback.address``; ``callback.failed`` where the name has no address.
    """
    parts = check_url(url, domains, loopback=loopback)
    name = (parts.hostname or "").rstrip(".")
    port = parts.port or (80 if loopback else 443)
    found = [ipaddress.ip_address(one.partition("%")[0]) for one in (look_up or _addresses)(name, port)]
    if not found:
        raise LetheError("callback.failed", "The host of the callback has no address.")
    if not all(one.is_loopback if loopback else _is_public(one) for one in found):
        raise _refused("its host lies in a private network")
    first = found[0]
    shown = f"[{first}]" if first.version == 6 else str(first)
    netloc = shown if parts.port is None else f"{shown}:{port}"
    host = name if parts.port is None else f"{name}:{port}"
    return Target(parts._replace(netloc=netloc).geturl(), host, name)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Also an IPv4 address inside an IPv6 one is looked at: 6to4, Teredo, mapped and translated ones."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.is_site_local or (inner is not None and not _is_public(inner)):  # fec0::/10 counts as global
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _addresses(name: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _refused(why: str) -> LetheError:
    return LetheError("callback.address", "This callback address may not be used.", (why,))
