"""E-mail over SMTP: plain text, one receiver, encrypted on the way unless the server is on this host."""

import smtplib
import ssl
from email.errors import HeaderParseError, MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import make_msgid

from policies.errors import LetheError
from services.settings import MailSettings

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def send(settings: MailSettings, *, to: str, subject: str, text: str) -> bool:
    """Hand a message to the server; whether it took it for this receiver.

    Args:
        settings: Where, and as whom.
        to: One address; what is no address is refused like one that the server refuses.
        subject: Without anything about a person: it is not encrypted at rest anywhere.
        text: The message.

    Raises:
        LetheError: ``mail.off`` where no server is set, ``mail.unavailable`` where it cannot be spoken with or refuses
            us, ``mail.unsure`` where the line broke before it said what became of the message; without the address.
    """
    if not settings.host or not settings.sender:
        raise LetheError("mail.off", "No mail server is set.")
    if settings.security == "none" and settings.host not in _LOOPBACK:
        raise LetheError("mail.unavailable", "A mail server elsewhere is spoken with over TLS only.")
    message = EmailMessage()
    try:
        message["From"] = settings.sender
        message["To"] = Address(addr_spec=to)
        message["Subject"] = subject
        message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2] or "lethe.invalid")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
    except (HeaderParseError, MessageError, ValueError, IndexError):
        return False
    away = LetheError("mail.unavailable", "The mail server cannot be spoken with.")
    try:
        server = _connect(settings)
    except (OSError, smtplib.SMTPException, UnicodeError):
        raise away from None
    try:
        server.send_message(message)
    except smtplib.SMTPRecipientsRefused:
        return False
    except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError, UnicodeError):
        raise away from None  # it said no
    except (OSError, smtplib.SMTPException):
        raise LetheError("mail.unsure", "The line to the mail server broke: it may have taken the message.") from None
    finally:
        _part(server)
    return True


def _part(server: smtplib.SMTP) -> None:
    """What goes wrong after the server's word about the message says nothing about the message."""
    try:
        server.quit()
    except (OSError, smtplib.SMTPException):
        server.close()


def _connect(settings: MailSettings) -> smtplib.SMTP:
    trust = ssl.create_default_context(cafile=None if settings.ca_path is None else str(settings.ca_path))
    server: smtplib.SMTP
    if settings.security == "tls":
        server = smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_s, context=trust)
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_s)
    try:
        if settings.security == "starttls":
            server.starttls(context=trust)
        if settings.username:
            server.login(settings.username, settings.password.get_secret_value())
    except BaseException:
        server.close()
        raise
    return server
