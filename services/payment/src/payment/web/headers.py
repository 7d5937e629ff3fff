"""The headers that an operation reads or writes by itself: `Prefer`, `traceparent` and `Link`."""

import re
from collections.abc import Iterable, Sequence
from random import getrandbits
from urllib.parse import parse_qsl, urlencode

from starlette.types import Scope
from werkzeug.http import parse_list_header, unquote_header_value

from payment.web.in_scope import TRACE

WAIT_MAX_S = 30.0
PREFER_MAX_CHARS = 1024

# opentelemetry-api would make a context of it for each request, and need not be there (docs/decisions/0016)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def wait_of(prefer: Sequence[str]) -> float:
    """Return for how long the caller prefers to wait (RFC 7240, 4.3), seconds; 0 if it does not say.

    Args:
        prefer: its `Prefer` headers. The first `wait` that makes sense counts; long ones are ignored.
    """
    said = ",".join(prefer)  # several headers are one list (RFC 9110, 5.3)
    if not said or len(said) > PREFER_MAX_CHARS:
        return 0.0
    for preference in parse_list_header(said):
        name, _, value = preference.partition(";")[0].partition("=")
        seconds = unquote_header_value(value.strip())
        if name.strip().lower() == "wait" and re.fullmatch("[0-9]{1,9}", seconds):
            return min(float(seconds), WAIT_MAX_S)
    return 0.0


def values_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return all values of a header (its name in lower case)."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def trace_in(scope: Scope) -> str:
    """Return the `traceparent` of all that a request leads to: its span's, its caller's or a new one."""
    trace: str | None = scope.get(TRACE)  # if there is a span, `traces` has put it there
    if trace is None:
        trace = scope[TRACE] = trace_of(values_of(scope["headers"], b"traceparent"))
    return trace


def callers_trace(traceparent: Sequence[str]) -> str | None:
    """Return the caller's `traceparent` (W3C Trace Context), None if it sent none that is valid.

    Args:
        traceparent: its `traceparent` headers.
    """
    return next(filter(_TRACEPARENT.fullmatch, traceparent), None)


def trace_of(traceparent: Sequence[str]) -> str:
    """Return the caller's `traceparent`, or a new one if it sent none that is valid."""
    return callers_trace(traceparent) or f"00-{getrandbits(128) or 1:032x}-{getrandbits(64) or 1:016x}-01"


def next_link(
    path: str, query: bytes, cursor: str | None, parameter: str = "cursor"
) -> list[tuple[bytes, bytes]]:
    """Return the `Link` to the next page (RFC 8288), with the filters of this one.

    Args:
        path: this page's.
        query: this page's.
        cursor: where the next page begins; None if this is the last.
        parameter: what takes it.
    """
    if cursor is None:
        return []
    asked = parse_qsl(query.decode("latin-1"))
    new_query = urlencode(
        [*((name, value) for name, value in asked if name != parameter), (parameter, cursor)]
    )
    return [(b"link", f'<{path}?{new_query}>; rel="next"'.encode())]
