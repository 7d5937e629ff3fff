"""/keys: the API keys, what they are good for, and their end."""

import time

from payment.ledger.answers import KeyAnswer, MadeKeyAnswer
from payment.ledger.keys import NewKey
from payment.web.endpoints import Request
from payment.web.http_errors import FieldInvalid
from payment.web.replies import Reply
from payment.web.schemas import MUST_BE_TO_COME

_key_answer = KeyAnswer()
_made_key_answer = MadeKeyAnswer()


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
    made = await request.ledger.create_key(
        NewKey(body["client"], body["scopes"], expires_us), request.cause()
    )
    location = (b"location", f"/keys/{made.row['id']}".encode())
    return Reply.of_text(201, _made_key_answer.text(made.to_be_shown()), [location])


async def get_key(request: Request) -> Reply:
    """GET /keys/{key_id}."""
    row = await request.ledger.key(request.parameters["key_id"])
    return Reply.of_text(200, _key_answer.text(row))


async def revoke_key(request: Request) -> Reply:
    """POST /keys/{key_id}/revoke."""
    row = await request.ledger.revoke_key(request.parameters["key_id"], request.cause())
    return Reply.of_text(200, _key_answer.text(row))
