"""How those who call us read JSON: each value as what it must be to them, and never more."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx

UNSERVED = (AssertionError, KeyError, TypeError, ValueError, IndexError)
"""What a reader raises if it cannot do its work with an answer."""

Reader = Callable[[httpx.Response], None]
_JSON = re.compile(r"application/([^;\s]+\+)?json\s*(;.*)?", re.IGNORECASE)


def body_of(answer: httpx.Response, code: int) -> dict[str, Any]:
    """Return the JSON object of an answer with this status code."""
    assert answer.status_code == code
    assert _JSON.fullmatch(answer.headers["Content-Type"])
    return an_object(json.loads(answer.content))


def refusal(code: int, words: str | None = None) -> Reader:
    """Return a reader of an error, by its status code; the words are for people."""

    def read(answer: httpx.Response) -> None:
        said = text(body_of(answer, code)["error"])
        assert words in (None, said)

    return read


def whole(value: object) -> int:
    """Return a whole number."""
    assert isinstance(value, int)
    assert not isinstance(value, bool)
    return value


def text(value: object) -> str:
    """Return a text."""
    assert isinstance(value, str)
    return value


def an_object(value: object) -> dict[str, Any]:
    """Return a JSON object."""
    assert isinstance(value, dict)
    return value


def some(value: object) -> list[Any]:
    """Return a list that has something."""
    assert isinstance(value, list)
    assert value
    return value
