import socket

import pytest

from policies.errors import LetheError
from services.callbacks.address import check_url, resolve

DOMAINS = ("c.example", "dsr.controller.example")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "c.example/x",
        "http://c.example/x",
        "ftp://c.example/x",
        "//c.example/x",
        "https://other.example/x",
        "https://sub.c.example/x",
        "https://c.example.evil.example/x",
        "https://evil.example/c.example",
        "https://c.example@evil.example/x",
        "https://user:word@c.example/x",
        "https://c.example#@evil.example/x",
        "https://c.example\\@evil.example/x",
        "https://c.example:8443/x",
        "https://c.example:99999/x",
        "https://c.example:x/",
        "https://[::1]/x",
        "https://127.0.0.1/x",
        "https://c.example/ x",
        "https://c.example/\nx",
        "https://ç.example/",
        "https://[c.example/",
        "https://c.example/" + "x" * 500,
    ],
)
def test_an_address_beside_the_registered_hosts_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(LetheError) as caught:
        check_url(url, DOMAINS)
    assert caught.value.code == "callback.address"
    assert "evil" not in str(caught.value.body())


def test_a_registered_host_passes_with_path_and_query() -> None:
    for url in ("https://c.example/cb?id=1", "https://C.EXAMPLE:443/cb", "https://c.example./cb"):
        assert check_url(url, DOMAINS)


@pytest.mark.parametrize(
    "found",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "feff:ffff::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "2002:0a00:0001::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
    ],
)
def test_a_host_in_a_private_network_is_refused(found: str) -> None:
    with pytest.raises(LetheError, match=r"callback\.address"):
        resolve("https://c.example/cb", DOMAINS, look_up=lambda _n, _p: [found])
    with pytest.raises(LetheError, match=r"callback\.address"):  # one bad address among good ones is enough
        resolve("https://c.example/cb", DOMAINS, look_up=lambda _n, _p: ["93.184.216.34", found])


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    asked: list[str] = []

    def rebinding(name: str, port: int) -> list[str]:
        asked.append(f"{name}:{port}")
        return ["93.184.216.34"] if len(asked) == 1 else ["127.0.0.1"]

    target = resolve("https://c.example/cb?id=1", DOMAINS, look_up=rebinding)
    assert (target.url, target.host, target.name) == ("https://93.184.216.34/cb?id=1", "c.example", "c.example")
    assert asked == ["c.example:443"]
    v6 = resolve("https://c.example:443/", DOMAINS, look_up=lambda _n, _p: ["2606:2800:220:1::1"])
    assert (v6.url, v6.host) == ("https://[2606:2800:220:1::1]:443/", "c.example:443")


def test_a_host_without_address_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    with pytest.raises(LetheError, match=r"callback\.failed"):
        resolve("https://c.example/cb", DOMAINS)


def test_loopback_is_for_tests_and_nothing_else() -> None:
    assert resolve("http://127.0.0.1:8080/cb", (), loopback=True).url == "http://127.0.0.1:8080/cb"
    for url in ("https://c.example/cb", "http://c.example/cb", "http://10.0.0.1/cb"):
        with pytest.raises(LetheError, match=r"callback\.address"):
            check_url(url, DOMAINS, loopback=True)
    with pytest.raises(LetheError, match=r"callback\.address"):
        resolve("http://localhost/cb", (), loopback=True, look_up=lambda _n, _p: ["10.0.0.1"])
