"""Idempotency keys (IETF draft-ietf-httpapi-idempotency-key-header): same key, same answer. Pure.

A key belongs to the caller and the operation. Key, payment, bill and notifications are written in one
transaction, so a key is there exactly if its payment is. A refusal is not kept but judged anew.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from itertools import product
from typing import Any

from payment.core.errors import KeyInvalid, KeyReused
from payment.core.record import record

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")


@record(frozen=True, slots=True)
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


@record(frozen=True, slots=True)
class Key:
    """Whose key it is, for which operation, and for which request body.

    Attributes:
        in_other_words: gives the bodies that say the same; asked for only if the key was used before.
    """

    caller: str
    operation: str
    key: str
    fingerprint: str
    in_other_words: Callable[[], Iterable[Mapping[str, Any]]] = field(
        default=tuple, repr=False, compare=False
    )

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes the key unique in the database."""
        return (self.caller, self.operation, self.key)


@record(frozen=True, slots=True)
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


def wordings(body: Mapping[str, Any], unsaid: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return all bodies that say the same: a field that says what is so without it may be there or not.

    Args:
        body: one of them, validated.
        unsaid: optional fields, each with what its absence means.
    """
    free = [name for name, meaning in unsaid.items() if body.get(name, meaning) == meaning]
    bound = {name: value for name, value in body.items() if name not in free}
    for are_said in product((False, True), repeat=len(free)):
        yield bound | {name: unsaid[name] for name, is_said in zip(free, are_said, strict=True) if is_said}


def replay(used: UsedKey, key: Key) -> BookedAnswer:
    """Return the first answer again.

    Raises:
        KeyReused: the key was used for another body.
    """
    refuse_another(used, key)
    first = used.answer
    return BookedAnswer(first.status, first.location, first.body, replayed=True)


def refuse_another(used: UsedKey, key: Key) -> None:
    """Let the same request pass, in whichever words: an earlier version kept those of the caller too.

    Raises:
        KeyReused: the key was used for another body.
    """
    if used.fingerprint == key.fingerprint:
        return
    if used.fingerprint not in map(fingerprint, key.in_other_words()):
        raise KeyReused(field="Idempotency-Key")
