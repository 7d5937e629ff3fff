"""The words of frameworks and gateways for a route that they do not have. Pure (docs/decisions/0011).

They say it in JSON, with 404, as a service says that it knows no such order. The client and the verification
of the contracts read it by this same file.
"""

import re
from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 4
SENTENCE_MAX_CHARS = 500
"""How much of a sentence is looked at: whoever answers does not say how long that takes."""

_SENTENCES = frozenset(
    {"error", "errors", "message", "messagedetail", "msg", "error_msg", "detail", "title", "reason"}
    | {"description", "_embedded"}
)
"""The members that hold a sentence, or an object or list with one."""

_ROUTE = r"\b(?:route|url|uri|endpoint|static resource)\b"
_OF_A_ROUTE = re.compile(
    rf"Cannot [A-Z]+ /|{_ROUTE}.*\b(?:not|no)\b|\b(?:not|no)\b.*{_ROUTE}", re.IGNORECASE | re.DOTALL
)
_NO_MORE_THAN_404 = re.compile(
    r"\s*(?:(?:HTTP )?(?:404 )?(?:Page )?Not Found|No message available|An error occurred"
    r"|The requested resource could not be found\.)?\s*"
)
"""Without a full stop: `Not found.` is Django's sentence for an object that is not there."""


def means_no_route(said: dict[str, Any]) -> bool:
    """Say whether the object of a 404 is a framework's, for a route that it does not have.

    It speaks of the route, or its sentences say no more than the status code. Some frameworks say just that
    for an order that is not there, too: nobody can tell the two apart, and a doubt kills no news.
    """
    sentences = [each[:SENTENCE_MAX_CHARS] for each in _sentences_in(said, DEPTH_MAX)]
    if any(_OF_A_ROUTE.search(each) for each in sentences):
        return True
    return bool(sentences) and all(_NO_MORE_THAN_404.fullmatch(each) for each in sentences)


def _sentences_in(said: Any, depth: int) -> Iterator[str]:
    if depth == 0:
        return
    for value in said if isinstance(said, list) else _members_of(said):
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            yield from _sentences_in(value, depth - 1)


def _members_of(said: dict[str, Any]) -> Iterator[Any]:
    return (value for name, value in said.items() if name.lower() in _SENTENCES)
