"""Proxies in the environment: none for this machine, and a hint where a connection through one fails."""

import socket
import threading

import pytest

import lrs
from lrs.proxies import is_loopback, proxy_hint

PROXY = {"http_proxy": "http://user:secret@proxy.example:3128"}


@pytest.fixture
def proxy():
    """A proxy that refuses every connection, and counts them."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(100))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_reached_without_a_proxy(server, job, proxy, monkeypatch, variable, host):
    address, asked = proxy
    monkeypatch.setenv(variable, address)
    url = server.url.replace("127.0.0.1", host)
    with lrs.Scheduler(job, server=url, groups=0.1, total_steps=10, deadline=20.0, require_server=True) as scheduler:
        assert scheduler.step(1.0).standing is lrs.Standing.FINAL
    assert asked == []


def test_a_proxy_on_the_way_is_named(proxy, monkeypatch, caplog):
    address, asked = proxy
    monkeypatch.setenv("http_proxy", address)
    known = {"server": "http://lrs.example:50051", "groups": 0.1, "start_timeout": 2.0}
    with pytest.raises(
        lrs.UnreachableError, match=rf"through the proxy {address} of http_proxy.*add lrs.example to no_proxy"
    ):
        lrs.Scheduler("a/b", **known, require_server=True)
    assert asked[0].startswith(b"CONNECT lrs.example:50051")
    scheduler = lrs.Scheduler("a/b", **known)
    assert "through the proxy" in caplog.text
    scheduler.close(0)


@pytest.mark.parametrize(
    ("server", "environment", "hint"),
    [
        ("http://lrs.example:1", {}, ""),
        ("http://lrs.example:1", PROXY, "http://proxy.example:3128 of http_proxy"),
        ("https://lrs.example:1", PROXY | {"grpc_proxy": "http://other:1"}, "http://other:1 of grpc_proxy"),
        ("http://lrs.example:1", PROXY | {"no_proxy": "localhost, .example"}, ""),
        ("http://lrs.example:1", PROXY | {"no_proxy": "other.example"}, "proxy.example"),
        ("http://127.1.2.3:1", PROXY, ""),
        ("http://[::1]:1", PROXY, ""),
        ("http://[fd00::1]:1", PROXY, "add fd00::1 to no_proxy"),
    ],
)
def test_the_hint_names_the_proxy_that_counts(server, environment, hint):
    found = proxy_hint(server, environment)
    assert hint in found
    assert bool(hint) == bool(found)
    assert "secret" not in found


def test_what_is_loopback():
    assert all(
        is_loopback(target) for target in ("127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "a.localhost:1")
    )
    assert not any(is_loopback(target) for target in ("10.0.0.1:1", "lrs:1", "[fe80::1]:1", "localhost.example:1"))
