"""Time stamps by a real authority: OpenSSL's, behind HTTP on loopback, with a chain that this test makes."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from policies.errors import LetheError
from services import audit, keys
from services.audit import SignedCheckpoint, stamps
from services.store.engine import Store
from tests.ports import free_port

_CONFIG = """
[tsa]
default_tsa = lethe_test
[lethe_test]
serial = {home}/serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True)
class Authority:
    url: str
    root: bytes


def certificate(
    name: str, key: rsa.RSAPrivateKey, issuer: str, signer: rsa.RSAPrivateKey, *, ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not ca:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(signer, hashes.SHA256())


def pem(one: x509.Certificate) -> bytes:
    return one.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Authority]]:
    servers: list[ThreadingHTTPServer] = []

    def make(answer: Callable[[bytes], bytes] | None = None) -> Authority:
        home = tmp_path_factory.mktemp("tsa")
        root, leaf = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
        authority = certificate("root", root, "root", root, ca=True)
        (home / "leaf.pem").write_bytes(pem(certificate("tsa", leaf, "root", root, ca=False)))
        (home / "leaf.key").write_bytes(
            leaf.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (home / "tsa.cnf").write_text(_CONFIG.format(home=home))
        (home / "serial").write_text("01\n")

        def stamp(query: bytes) -> bytes:
            (home / "q").write_bytes(query)
            command = ["openssl", "ts", "-reply", "-config", str(home / "tsa.cnf"), "-queryfile", str(home / "q")]
            files = ["-signer", str(home / "leaf.pem"), "-inkey", str(home / "leaf.key"), "-out", str(home / "a")]
            subprocess.run([*command, *files], check=True, capture_output=True, cwd=home)
            return (home / "a").read_bytes()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = self.rfile.read(int(self.headers["Content-Length"]))
                body = (answer or stamp)(query)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return Authority(f"http://127.0.0.1:{server.server_address[1]}/", pem(authority))

    yield make
    for one in servers:
        one.shutdown()
        one.server_close()


@pytest.fixture(scope="module")
def authority(make_authority: Callable[..., Authority]) -> Authority:
    return make_authority()


@pytest.fixture
def signed(store: Store, key: keys.SigningKey) -> SignedCheckpoint:
    with store.write() as session:
        audit.append(session, kind="ticket.received", payload={"ticket_id": "t-1"})
        return audit.checkpoint(session, key)


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(LetheError) as caught:
        call()
    return caught.value.code


def test_a_stamp_holds_and_says_when(authority: Authority, signed: SignedCheckpoint, tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    stamps.write(tmp_path / "stamp.json", stamps.request_stamp(signed, authority.url))
    stamp = stamps.read(tmp_path / "stamp.json")
    assert stamp.checkpoint == signed
    assert before <= stamps.stamped_at(stamp, authority.root) <= datetime.now(UTC) + timedelta(seconds=2)


def test_a_stamp_of_another_checkpoint_or_authority_does_not_hold(
    authority: Authority, make_authority: Callable[..., Authority], signed: SignedCheckpoint
) -> None:
    stamp = stamps.request_stamp(signed, authority.url)
    other = replace(signed, checkpoint=replace(signed.checkpoint, size=signed.checkpoint.size + 1))
    moved = stamps.Stamp(checkpoint=other, response=stamp.response)
    assert code_of(lambda: stamps.stamped_at(moved, authority.root)) == "audit.stamp_invalid"
    stranger = make_authority()
    assert code_of(lambda: stamps.stamped_at(stamp, stranger.root)) == "audit.stamp_invalid"
    assert code_of(lambda: stamps.stamped_at(stamp, b"no certificate")) == "audit.stamp_invalid"


def test_a_changed_answer_does_not_hold(authority: Authority, signed: SignedCheckpoint) -> None:
    stamp = stamps.request_stamp(signed, authority.url)
    whole = stamp.response
    for position in range(len(whole) - 200, len(whole), 7):  # the signature stands at the end
        changed = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        forged = stamps.Stamp(checkpoint=signed, response=changed)
        assert code_of(partial(stamps.stamped_at, forged, authority.root)) == "audit.stamp_invalid"


def test_an_authority_that_answers_nonsense_is_refused(
    make_authority: Callable[..., Authority], authority: Authority, signed: SignedCheckpoint
) -> None:
    first = stamps.request_stamp(signed, authority.url).response
    assert (
        code_of(lambda: stamps.request_stamp(signed, make_authority(lambda _: b"hello").url)) == "audit.stamp_invalid"
    )
    replayed = make_authority(lambda _: first)  # an answer to an earlier question, with its nonce
    assert code_of(lambda: stamps.request_stamp(signed, replayed.url)) == "audit.stamp_refused"
    nobody = f"http://127.0.0.1:{free_port()}/"
    assert code_of(lambda: stamps.request_stamp(signed, nobody)) == "audit.stamp_refused"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"format": "lethe-stamp/1", "stamped": {}, "response": "!"})]
)
def test_a_file_that_is_no_stamp_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert code_of(lambda: stamps.read(tmp_path / "stamp.json")) == "audit.unreadable"
