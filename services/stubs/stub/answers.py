"""Answers: JSON, what a switch asks for, and none at all."""

import json
import socket
from contextlib import suppress
from http.client import responses
from typing import Any, NoReturn

from flask import Response, request

from stub.switches import Fault


def json_response(content: object, status: int = 200) -> Response:
    """`content` as compact JSON; the fields keep their order."""
    text = json.dumps(content, separators=(",", ":")) + "\n"
    return Response(text, status, content_type="application/json")


def no_entry() -> Response:
    """The answer to a request that does not bring the token which is demanded (RFC 6750, 3)."""
    response = json_response({"error": "Token tidak ada atau salah"}, 401)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


class DroppedConnection(Response):
    """An answer that is never sent: the connection is closed in its place."""

    def __call__(self, environ: dict[str, Any], *_: object) -> NoReturn:
        """Close the client's connection; the handler below takes the exception as its end."""
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


def fault_answer(fault: Fault) -> Response:
    """The answer that a Fault with `answer` asks for."""
    status = fault["answer"]
    text = fault.get("body", json.dumps({"error": responses.get(status, "fault switch")}))
    kind = "application/json" if text.startswith(("{", "[")) else "text/html; charset=utf-8"
    response = Response(text, status, content_type=kind)
    if "retry_after_s" in fault:
        response.headers["Retry-After"] = str(fault["retry_after_s"])
    if status // 100 == 3:
        response.headers["Location"] = request.path  # a client that follows it is told the truth
    return response
