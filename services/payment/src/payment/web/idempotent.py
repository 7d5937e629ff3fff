"""The `Idempotency-Key` of a request, and the answer that may be a replay."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

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
    """
    key = read_key(request.header_values(b"idempotency-key"))
    if key is None:
        return None
    return Key(request.caller.client, operation, key, fingerprint(body), in_other_words)


def reply_of(answer: Answer) -> Reply:
    """Return the answer to a booking, which says if it is a replay."""
    headers = [(b"location", answer.location.encode())] if answer.location else []
    if answer.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Reply.of_text(answer.status, answer.body, headers)
