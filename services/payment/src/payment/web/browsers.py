"""What a page of another site must not reach through its reader's browser.

A page may send requests to any address, also to one on its reader's own machine or network. Where no key is
asked for (AUTH=none), being reachable is being allowed, so two things tell our own callers from such a page:
the name by which we are called, and the origin that a browser names with each change.
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from payment.core.setting_rules import ANY_HOST
from payment.web.http_errors import HostUnknown, HttpInvalid, OriginForeign
from payment.web.problems import ALWAYS_ANSWERED

READS = frozenset({"GET", "HEAD", "OPTIONS"})
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
            HttpInvalid: the Host is missing, or there are several.
        """
        if scope["type"] == "http" and scope["path"] not in ALWAYS_ANSWERED:
            self._check(scope)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts: list[bytes] = []
        origins: list[bytes] = []
        is_cross_site = False
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
            elif name == b"sec-fetch-site" and value == b"cross-site":
                is_cross_site = True
        # RFC 9112, 3.2: just one; but what still speaks 1.0 is no browser, and may know of none
        if len(hosts) != 1 and (hosts or scope["http_version"] != "1.0"):
            raise HttpInvalid
        if hosts and not self._is_ours(hosts[0]):
            raise HostUnknown(host=hosts[0].decode("latin-1")[:HOST_MAX_CHARS])
        if (origins or is_cross_site) and scope["method"] not in READS:
            is_own = hosts and all(self._is_same(origin, hosts[0]) for origin in origins)
            if is_cross_site or not is_own:
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
