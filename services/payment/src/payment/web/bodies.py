"""A request's body: how much of it is read, for how long, and by which Marshmallow schema."""

from collections.abc import Mapping
from typing import Any

from connexion.validators.abstract import AbstractRequestBodyValidator
from starlette.types import Receive, Scope

from payment.web import schemas
from payment.web.http_errors import BodyTooLarge, HttpInvalid
from payment.web.in_scope import ARRIVAL, CONTEXT, PLACE
from payment.web.json_text import parse_json

DRAIN_MAX_BYTES = 1024 * 1024
"""How much of a refused body is read and thrown away, so that the caller gets to read the answer."""


class JsonBody(AbstractRequestBodyValidator):
    """Reads a JSON body once, to a limit, and has the Marshmallow schema that the operation names read it.

    Args:
        max_bytes: the largest body.
        timeout_s: the longest time that a body may take to arrive.
        schema: the body's OpenAPI schema; its `x-marshmallow` names the Marshmallow schema.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float, schema: Mapping[str, Any], **_: Any) -> None:
        self._reader = BodyReader(max_bytes=max_bytes, timeout_s=timeout_s)
        named: type[schemas.BodySchema] = getattr(schemas, schema["x-marshmallow"])
        self._body = named.described_by(schema)

    async def wrap_receive(self, receive: Receive, *, scope: Scope) -> tuple[Receive, Scope]:
        """Put the validated body into the request's Connexion context."""
        body = await self._reader.read(receive, scope)
        scope["extensions"][CONTEXT]["body"] = self._body.read(parse_json(body))
        return receive, scope


class BodyReader:
    """Reads bodies, to a limit.

    Args:
        max_bytes: the largest body.
        timeout_s: the longest time that a body may take to arrive.
    """

    def __init__(self, *, max_bytes: int, timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def read(self, receive: Receive, scope: Scope) -> bytes:
        """Return the body of a request, whose place is not in hand while it arrives.

        Raises:
            BodyTooLarge: it is larger than the limit.
            BodyTooSlow: it took too long to arrive.
            HttpInvalid: the caller went away in the middle.
            Unavailable: too many arrive, and this is the slowest; or too many are in hand when it is there.
        """
        body = self._whole(receive, scope)
        if scope[ARRIVAL].more_body:
            arrived: bytes = await scope[PLACE].arrive(body, self._timeout_s)
            return arrived
        return await body

    async def _whole(self, receive: Receive, scope: Scope) -> bytes:
        if self._says_too_large(scope):
            asks_first = (b"expect", b"100-continue") in scope["headers"]  # and is then not told to send
            if not asks_first:
                await self._read(receive, DRAIN_MAX_BYTES, keep=False)
            raise BodyTooLarge(limit=self._max_bytes)
        return await self._read(receive, self._max_bytes, keep=True)

    def _says_too_large(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"content-length":
                return int(value) > self._max_bytes  # the server has checked that it is a number
        return False

    async def _read(self, receive: Receive, max_bytes: int, *, keep: bool) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":  # the caller went away in the middle
                raise HttpInvalid
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > max_bytes:
                if not keep:
                    break
                await self._read(receive, DRAIN_MAX_BYTES, keep=False)
                raise BodyTooLarge(limit=self._max_bytes)
            if keep:
                chunks.append(chunk)
            if not message.get("more_body", False):
                break
        return b"".join(chunks)
