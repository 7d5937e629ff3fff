"""/keys: the API keys, what they are good for, and their end; /caller: what the caller's own is good for."""

import time

from payment.core.units import SECOND_US
from payment.ledger.answers import CallerAnswer, KeyAnswer, MadeKeyAnswer
from payment.ledger.keys import MadeKey, NewKey, Rotation
from payment.web.endpoints import Request
from payment.web.fields import MUST_BE_TO_COME
from payment.web.http_errors import FieldInvalid
from payment.web.idempotent import key_of
from payment.web.replies import Reply
from payment.web.security import ADMIN

_key_answer = KeyAnswer()
_made_key_answer = MadeKeyAnswer()
_caller_answer = CallerAnswer()

ANYBODY_MAY = {"client": None, "id": None, "scopes": [ADMIN], "expires_us": None}
"""What is told of the key of a caller where no keys are asked for."""


async def list_keys(request: Request) -> Reply:
    """GET /keys: all that ever were."""
    rows = await request.ledger.keys()
    return Reply.of_json(200, {"keys": _key_answer.dump(rows, many=True)})


async def create_key(request: Request) -> Reply:
    """POST /keys: the one answer that shows the key itself."""
    body = request.body
    expires_us = body.get("expires_at")
    if expires_us is not None and expires_us <= time.time_ns() // 1000:
        raise FieldInvalid(field="expires_at", rule=MUST_BE_TO_COME)
    in_order = {**body, "scopes": sorted(body["scopes"])}
    made = await request.ledger.make_key(
        NewKey(body["client"], body["scopes"], expires_us),
        key_of(request, "create_key", in_order, lambda: [body]),
        request.cause(),
    )
    return _reply_of(made)


async def get_key(request: Request) -> Reply:
    """GET /keys/{key_id}."""
    row = await request.ledger.key(request.parameters["key_id"])
    return Reply.of_text(200, _key_answer.text(row))


async def rotate_key(request: Request) -> Reply:
    """POST /keys/{key_id}/rotate: another key for it, shown this once."""
    key_id, body = request.parameters["key_id"], request.body
    made = await request.ledger.make_key(
        Rotation(key_id, body["overlap_s"] * SECOND_US),
        key_of(request, "rotate_key", {"key_id": key_id, **body}),
        request.cause(),
    )
    return _reply_of(made)


async def revoke_key(request: Request) -> Reply:
    """POST /keys/{key_id}/revoke."""
    row = await request.ledger.revoke_key(request.parameters["key_id"], request.cause())
    return Reply.of_text(200, _key_answer.text(row))


async def get_caller(request: Request) -> Reply:
    """GET /caller: who calls, and what for its key is good."""
    return Reply.of_text(200, _caller_answer.text(request.caller.key or ANYBODY_MAY))


def _reply_of(made: MadeKey) -> Reply:
    location = (b"location", made.location.encode())
    return Reply.of_text(201, _made_key_answer.text(made.to_be_shown()), [location])
