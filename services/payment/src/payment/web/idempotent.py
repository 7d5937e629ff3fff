"""The `Idempotency-Key` of a request, and the answer that may be a replay."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from payment.core.errors import KeyMissing
from payment.ledger.idempotency import BookedAnswer as Answer
from payment.ledger.idempotency import Key, fingerprint, read_key
from payment.web.endpoints import Request
from payment.web.replies import Reply


def key_of(
    request: Request,
    operation: str,
    body: Mapping[str, Any],
    in_other_words: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
) -> Key | None:
    """Return the request's key, with a fingerprint of what it asks for; None if it has none.

    Args:
        request: the request.
        operation: what the key is for.
        body: validated.
        in_other_words: gives the other bodies that ask for the same.

    Raises:
        KeyInvalid: it is not one, or there are several.
        KeyMissing: it has none, and must have one.
    """
    key = read_key(request.header_values(b"idempotency-key"))
    if key:
        return Key(request.caller.client, operation, key, fingerprint(body), in_other_words)
    if request.keys_required != "none" and _must_have_one(request, body):
        raise KeyMissing(field="Idempotency-Key")
    return None


def _must_have_one(request: Request, body: Mapping[str, Any]) -> bool:
    """Say whether a request must have a key: two equal shares of a bill look like one that was sent twice.

    A PATCH need not: what it asks for is the same however often it is done.
    """
    if request.scope["method"] != "POST":
        return False
    return request.keys_required == "all" or "order_total" in body


def reply_of(answer: Answer) -> Reply:
    """Return the answer to a booking, which says if it is a replay."""
    headers = [(b"location", answer.location.encode())] if answer.location else []
    if answer.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Reply.of_text(answer.status, answer.body, headers)
