"""JSON as strictly as money needs it: no member twice, no number rounded."""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from payment.web import fields
from payment.web.http_errors import FieldInvalid, JsonInvalid

NAME_MAX_CHARS = 200
"""How much of a name that a caller made up is told back to him."""


def parse_json(body: bytes) -> Any:
    """Parse a request body; an empty one is an object without members, blanks alone are no JSON (RFC 8259).

    Raises:
        JsonInvalid: it is not JSON in UTF-8, or nests too deep.
        FieldInvalid: an object has a member twice, so that nobody knows which of the two is meant.
    """
    if not body:
        return {}
    try:
        text = body.decode()
        try:
            return _read_exactly.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of thousands of digits: let the schema name its field
            return _read_roughly.decode(text)
    except (ValueError, RecursionError):
        raise JsonInvalid from None


def _exactly(number: str) -> Decimal | float:
    """Return a number as it was written: a float would round 0.99999999999999999999 to the integer 1."""
    try:
        return Decimal(number)
    except ArithmeticError:  # an exponent of twenty digits
        return float(number)


def _once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members, each of which may be given once; Python's own reader takes the last."""
    found = dict(members)
    if len(found) < len(members):
        given = Counter(name for name, _ in members)
        twice = next(name for name, times in given.items() if times > 1)
        raise FieldInvalid(field=twice[:NAME_MAX_CHARS], rule=fields.MUST_BE_ONCE)
    return found


_read_exactly = json.JSONDecoder(parse_float=_exactly, object_pairs_hook=_once)
_read_roughly = json.JSONDecoder(parse_float=_exactly, parse_int=float, object_pairs_hook=_once)
