"""`X-Request-Id`: the name of a request, its caller's or one of ours. Logs, events and the answer have it."""

import re
from collections.abc import Iterable
from random import getrandbits

HEADER = b"x-request-id"
_VISIBLE_ASCII = re.compile(rb"[\x21-\x7e]{1,128}")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the request's id: what its caller gave it, once and well-formed, else a new one.

    Args:
        headers: the request's, their names in lower case.
    """
    given = [value for name, value in headers if name == HEADER]
    if len(given) == 1 and _VISIBLE_ASCII.fullmatch(given[0]):
        return given[0].decode("ascii")
    return new_request_id()


def new_request_id() -> str:
    """Return an id that no other request has."""
    return f"{getrandbits(128):032x}"
