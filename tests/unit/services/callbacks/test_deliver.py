"""The exchange itself, over real TLS on loopback."""

import ssl
from pathlib import Path

import pytest

from policies.errors import LetheError
from services.callbacks.address import Target
from services.callbacks.deliver import post
from tests.callback_receiver import callback_receiver
from tests.certificates import make_certificate


def test_the_certificate_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "c.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cafile=str(certificate))
    with callback_receiver(server) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/cb"
        target = Target(url, "c.example", "c.example")
        assert post(target, b"{}", {"X-Test": "1"}, timeout_s=5, trust=trust) == 202
        path, headers, body = receiver.arrived[0]
        assert (path, headers["host"], headers["x-test"], body) == ("/cb", "c.example", "1", b"{}")
        for wrong, whom in ((Target(url, "d.example", "d.example"), trust), (target, None)):
            with pytest.raises(LetheError, match=r"callback\.failed"):
                post(wrong, b"{}", {}, timeout_s=5, trust=whom)
        assert len(receiver.arrived) == 1
    with pytest.raises(LetheError, match=r"callback\.failed"):
        post(target, b"{}", {}, timeout_s=5, trust=trust)  # nobody listens any more
