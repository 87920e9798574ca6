"""The HTTP proxy that gRPC takes from the environment, and servers on this machine, which are reached without one."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

#: gRPC reads these variables in this order, in small letters only.
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def is_loopback(target: str) -> bool:
    """Whether `host:port` is an address of this machine's loopback."""
    host = _host(target)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_hint(server: str, environment: Mapping[str, str] | None = None) -> str:
    """A half sentence that names the proxy on the way to a server; empty if there is none."""
    known = os.environ if environment is None else environment
    host = _host(urlsplit(server if "://" in server else f"http://{server}").netloc)
    variable = next((name for name in _PROXIES if known.get(name)), None)
    if variable is None or is_loopback(f"{host}:1" if ":" not in host else f"[{host}]:1"):
        return ""
    exceptions = next((known[name] for name in _EXCEPTIONS if known.get(name)), "")
    if any(host == kept.strip() or (kept.strip() and host.endswith(kept.strip())) for kept in exceptions.split(",")):
        return ""
    return (
        f"; the connection goes through the proxy {_without_password(known[variable])} of {variable}: to connect without "
        f"it, add {host} to no_proxy"
    )


def _host(target: str) -> str:
    return urlsplit(f"//{target}").hostname or ""


def _without_password(proxy: str) -> str:
    before, at, place = proxy.rpartition("@")
    scheme = before.partition("://")[0] + "://" if "://" in before else ""
    return f"{scheme}{place}" if at else proxy
