"""What a neighbour's answer means, to a PUT and to a GET alike. Pure (docs/decisions/0011)."""

import json
import re
from http import HTTPStatus
from typing import Any, Never

from payment.core.states import Outcome

BUSY = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.LOCKED,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
DENIED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
OF_GATEWAYS = (
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UPGRADE_REQUIRED,
)
_JSON = re.compile(r"application/([^;\s]+\+)?json\s*(;.*)?", re.IGNORECASE)
_SENTENCES = ("error", "message", "detail", "title")


def outcome_of(status: int, *, is_own_word: bool, is_route_known: bool) -> Outcome:
    """Say what an answer means.

    Args:
        status: the status code, of a final answer.
        is_own_word: the body is a JSON object, as the neighbour itself writes it, and not its framework.
        is_route_known: the route has been seen to exist, see `shows_route`.
    """
    if 200 <= status < 300:  # noqa: PLR2004  # RFC 9110, 15.3: successful
        return Outcome.DELIVERED
    if status in BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR or is_of_gateway(status):
        return Outcome.OUTAGE
    if status in DENIED:
        return Outcome.DENIED
    if status == HTTPStatus.NOT_FOUND:
        return Outcome.UNKNOWN if is_own_word and is_route_known else Outcome.NO_ROUTE
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return Outcome.NO_ROUTE
    return Outcome.REJECTED


def is_of_gateway(status: int) -> bool:
    """Say whether it is a redirect, or what else only a gateway says: its URL leads to somebody else."""
    return 300 <= status < 400 or status in OF_GATEWAYS  # noqa: PLR2004  # RFC 9110, 15.4


def shows_route(status: int) -> bool:
    """Say whether only a route that exists gives this answer: it did, or refused, what was asked.

    A gateway's outage, redirect or demand for a token says nothing of what is behind it.
    """
    outcome = outcome_of(status, is_own_word=False, is_route_known=False)
    return outcome in (Outcome.DELIVERED, Outcome.REJECTED)


def object_in(content_type: str, body: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an answer, None if it is none; `application/*+json` is JSON (RFC 6839)."""
    if not _JSON.fullmatch(content_type.strip()):
        return None
    try:
        said = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _refuse(constant: str) -> Never:
    raise ValueError(constant)  # NaN and Infinity are no JSON (RFC 8259, 6)


def sentence_of(said: dict[str, Any] | None) -> str | None:
    """Return what a JSON refusal says to people; which member holds it is nothing that we rely on."""
    sentences = ((said or {}).get(name) for name in _SENTENCES)
    return next((each for each in sentences if isinstance(each, str)), None)
