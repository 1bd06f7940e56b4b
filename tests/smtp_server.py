"""A real SMTP server on loopback (aiosmtpd) that keeps what it was given."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Server
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.ports import free_port


@dataclass
class Mailbox:
    """What arrived; receivers in ``refused`` are told that there is no such mailbox."""

    port: int = 0
    arrived: list[EmailMessage] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    breaks: str = ""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refused:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:
        if self.breaks == "data":
            return "451 try again later"
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.arrived.append(message)
        if self.breaks == "end":
            server.transport.abort()
        return "250 OK"

    async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:
        return "451 no" if self.breaks == "quit" else "221 Bye"


@contextmanager
def smtp_server(
    tls: ssl.SSLContext | None = None, account: tuple[str, str] | None = None, *, breaks: str = ""
) -> Iterator[Mailbox]:
    """Listens until the end of the block; with ``tls`` it demands STARTTLS, with ``account`` a login too.

    ``breaks``: it refuses messages (``data``), takes them and drops the line (``end``), or is rude at last (``quit``).
    """
    box = Mailbox(breaks=breaks)

    def check(_server: Server, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=account == (data.login.decode(), data.password.decode()), handled=False)

    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls else {}
    if account is not None:
        options |= {"authenticator": check, "auth_required": True}
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()
