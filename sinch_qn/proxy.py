"""Which requests go through an HTTP proxy. No I/O."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from sinch_qn.errors import InvalidRequestError

_BRING_A_SESSION = "for SOCKS pass session= with the connector of aiohttp-socks"


def _split(url: object) -> SplitResult | None:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        if parts is None or not parts.hostname or parts.port == 0:
            return None
    except ValueError:
        return None
    return parts


def _check_url(_: object, __: object, url: Any) -> None:
    parts = _split(url)
    is_printable = isinstance(url, str) and url.isprintable() and " " not in url
    if parts is None or not is_printable or parts.scheme not in ("http", "https"):
        scheme = parts.scheme if parts is not None else ""
        hint = f"; {_BRING_A_SESSION}" if scheme.startswith("socks") else ""
        # The value is not shown: it may hold a password.
        raise InvalidRequestError(f"proxy: expected http://host:port or https://host:port{hint}")


@attrs.frozen
class Proxy:
    """An HTTP proxy, and the hosts that are reached without it.

    Requests to `https://` addresses are tunnelled (CONNECT): the proxy sees their host only.
    """

    url: str = attrs.field(repr=False, validator=_check_url)
    """`http://host:port`, or with `user:password@` before the host."""
    no_proxy: str = attrs.field(default="", kw_only=True)
    """Hosts, domains with all below them, or `*`, separated by commas; as in `NO_PROXY`."""
    https_only: bool = attrs.field(default=False, kw_only=True)
    """Whether `http://` addresses are reached without it, as `HTTPS_PROXY` means it."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self | None:
        """Return the proxy of `HTTPS_PROXY` and `NO_PROXY`, in lower or upper case, if any."""

        def value(name: str) -> str:
            return environ.get(name.lower()) or environ.get(name) or ""

        url = value("HTTPS_PROXY")
        if not url:
            return None
        full = url if "://" in url else f"http://{url}"
        return cls(full, no_proxy=value("NO_PROXY"), https_only=True)

    def is_for(self, scheme: str, host: str, port: int | None) -> bool:
        """Whether requests to that host go through the proxy."""
        if self.https_only and scheme != "https":
            return False
        names = {name.strip().lower().lstrip(".") for name in self.no_proxy.split(",")} - {""}
        own = {host.lower(), f"{host.lower()}:{port}"}
        return not any(
            name == "*" or name in own or host.lower().endswith(f".{name}") for name in names
        )

    @property
    def address(self) -> str:
        """The address without credentials."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.scheme}://{host}:{port}"

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy wants to know: the credentials of the address, if it has any."""
        parts = urlsplit(self.url)
        if not parts.username:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"Proxy-Authorization": "Basic " + b64encode(pair.encode()).decode()}


def check_proxy(proxy: object) -> Proxy | None:
    """Return *proxy*, an address or a `Proxy`, as a `Proxy`."""
    if proxy is None or isinstance(proxy, Proxy):
        return proxy
    return Proxy(proxy)  # type: ignore[arg-type] # its validator says what is expected
