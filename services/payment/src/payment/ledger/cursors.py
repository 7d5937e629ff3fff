"""Cursors: where the next page of a list begins, as opaque text that the caller sends back."""

import base64
import binascii
import hashlib
from dataclasses import asdict

from payment.core.errors import CursorInvalid
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.listing import Position, Selection

_VERSION = "1"
_ADDED = ("amount", "reference", "late")
"""Filters that came later: a cursor that was given before stays good where they are not asked for."""


def cursor_of(position: Position, selection: Selection) -> str:
    """Return an opaque cursor; `read_cursor` takes it with the same selection only."""
    where = f"{_VERSION}.{position.created_us}.{position.id}"
    return base64.urlsafe_b64encode(f"{where}.{_seal(where, selection)}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, selection: Selection) -> Position:
    """Return the position that a cursor stands for.

    Raises:
        CursorInvalid: it is not one of ours, or it belongs to another selection.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        where, _, seal = base64.b64decode(padded, altchars=b"-_", validate=True).decode().rpartition(".")
        _, created_us, payment_id = where.split(".")
        position = Position(int(created_us), int(payment_id))
    except (binascii.Error, ValueError):
        raise CursorInvalid(field="cursor") from None
    if max(abs(position.created_us), abs(position.id)) > WHOLE_NUMBER_MAX:  # no payment is there
        raise CursorInvalid(field="cursor")
    if seal != _seal(where, selection) or cursor != cursor_of(position, selection):
        raise CursorInvalid(field="cursor")
    return position


def _seal(where: str, selection: Selection) -> str:
    """Return a checksum that shows a typing error, or a cursor of another list. It is no protection."""
    filters = {
        name: value for name, value in asdict(selection).items() if value is not None or name not in _ADDED
    }
    sealed = repr((where, sorted(filters.items())))
    return hashlib.blake2b(sealed.encode(), digest_size=6).hexdigest()
