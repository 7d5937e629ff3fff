"""What a page of another site must not reach through its reader's browser.

A page may send requests to any address, also to one on its reader's own machine or network. Two things tell
our own callers from such a page: the origin that a browser names with each change, and, where no key is asked
for (AUTH=none) and being reachable is being allowed, the name by which we are called.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from payment.core.setting_rules import ANY_HOST
from payment.web.http_errors import HostUnknown, OriginForeign
from payment.web.problems import ALWAYS_ANSWERED

READS = frozenset({"GET", "HEAD", "OPTIONS"})
ELSEWHERE = frozenset({b"cross-site", b"same-site"})
"""What `Sec-Fetch-Site` says of a page of another origin: of another port, too, or subdomain."""

HOST_MAX_CHARS = 200
_PORTS = {"http": 80, "https": 443}
_ADDRESSES_KEPT = 256
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)


class NoForeignPages:
    """Refuses what only a page of another site has a browser send. Probes may call us by any name.

    Args:
        app: what is within.
        bound_to: the name or address that the API listens on.
        allowed_hosts: further names and addresses that it is called by; `*` for any.
    """

    def __init__(self, app: ASGIApp, *, bound_to: str, allowed_hosts: tuple[str, ...]) -> None:
        self._app = app
        self._names = {canonical(name) for name in ("localhost", bound_to, *allowed_hosts) if name}
        self._has_any_name = ANY_HOST in allowed_hosts
        bound = address_of(bound_to)
        self._has_any_address = not bound_to or (bound is not None and bound.is_unspecified)
        self._is_ours = lru_cache(_ADDRESSES_KEPT)(self._find)
        self._is_same = lru_cache(_ADDRESSES_KEPT)(is_same_place)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is for us.

        Raises:
            HostUnknown: we are called by a name that is not ours: its owner may have it lead to us.
            OriginForeign: a browser says that a page of another origin changes something here.
        """
        if scope["type"] == "http" and scope["path"] not in ALWAYS_ANSWERED:
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        host: bytes | None = None  # the only one; HTTP/1.0 may have none (web/protocol.py)
        origins: list[bytes] = []
        is_elsewhere = False
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site" and value in ELSEWHERE:
                is_elsewhere = True
        if host is not None and not self._is_ours(host):
            raise HostUnknown(host=host.decode("latin-1")[:HOST_MAX_CHARS])
        if scope["method"] not in READS:
            is_own = all(host is not None and self._is_same(origin, host) for origin in origins)
            if is_elsewhere or not is_own:
                raise OriginForeign

    def _find(self, host: bytes) -> bool:
        if self._has_any_name:
            return True
        authority = _AUTHORITY.fullmatch(host.decode("latin-1"))
        if authority is None:
            return False
        name = canonical(authority[1])
        if name in self._names:
            return True
        address = address_of(name)
        # any, if bound to all: nobody can have an address, unlike a name, lead to us
        return address is not None and (address.is_loopback or self._has_any_address)


def is_same_place(origin: bytes, host: bytes) -> bool:
    """Say whether the name and port of an `Origin` are those of a `Host`; the scheme gives the usual port.

    The schemes are not compared: a proxy before us may have ended TLS.
    """
    scheme, _, place = origin.decode("latin-1").partition("://")
    usual_port = _PORTS.get(scheme.lower())
    ours, theirs = _AUTHORITY.fullmatch(host.decode("latin-1")), _AUTHORITY.fullmatch(place)
    if usual_port is None or ours is None or theirs is None:
        return False
    one, other = ((canonical(each[1]), int(each[2] or usual_port)) for each in (ours, theirs))
    return one == other


def canonical(name: str) -> str:
    """Return a host's name or address as all its spellings are compared: `[::0:1]` is `::1`."""
    name = name.lower().removesuffix(".")
    return str(address_of(name) or name)


def address_of(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a name is, if it is one: the IPv4 one where IPv6 is written around it."""
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
