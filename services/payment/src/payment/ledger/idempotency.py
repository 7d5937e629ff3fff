"""Idempotency keys (IETF draft-ietf-httpapi-idempotency-key-header): same key, same answer. Pure.

A key belongs to the caller and the operation. Key, payment, bill and notifications are written in one
transaction, so a key is there exactly if its payment is. A refusal is not kept but judged anew.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from payment.core.errors import KeyInvalid, KeyReused

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class BookedAnswer:
    """What the caller of a booked request gets, kept byte for byte.

    Attributes:
        status: HTTP status code.
        location: the `Location` header.
        body: the JSON text.
        replayed: True if this is the first answer again.
    """

    status: int
    location: str
    body: str
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Key:
    """Whose key it is, for which operation, and for which request body."""

    caller: str
    operation: str
    key: str
    fingerprint: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes the key unique in the database."""
        return (self.caller, self.operation, self.key)


@dataclass(frozen=True, slots=True)
class UsedKey:
    """What is known of a key that was used before: for which body, and what was answered."""

    fingerprint: str
    answer: BookedAnswer


def read_key(values: list[str]) -> str | None:
    """Return the key from the `Idempotency-Key` headers of a request, None if there is none.

    Raises:
        KeyInvalid: it is given twice, or is not 1 to 255 visible ASCII characters.
    """
    if not values:
        return None
    if len(values) > 1 or not _VISIBLE_ASCII.fullmatch(values[0]):
        raise KeyInvalid(field="Idempotency-Key")
    return values[0]


def fingerprint(body: Mapping[str, Any]) -> str:
    """Return what tells two validated bodies apart; unknown fields and their order do not count."""
    return hashlib.sha256(_canonical(body).encode()).hexdigest()


def replay(used: UsedKey, key: Key) -> BookedAnswer:
    """Return the first answer again.

    Raises:
        KeyReused: the key was used for another body.
    """
    refuse_another(used, key)
    first = used.answer
    return BookedAnswer(first.status, first.location, first.body, replayed=True)


def refuse_another(used: UsedKey, key: Key) -> None:
    """Let the same request pass.

    Raises:
        KeyReused: the key was used for another body.
    """
    if used.fingerprint != key.fingerprint:
        raise KeyReused(field="Idempotency-Key")
