"""The console, as the API knows it: pages for people, beside the operations."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from starlette.types import Receive, Scope, Send

from payment.web.inner_calls import InnerCalls

CONSOLE = "/console"
"""Where its pages are."""


class Pages(Protocol):
    """The console, as the API knows it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        ...

    def refusal(
        self, scope: Scope, words: Callable[[str], str]
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """Return a page that says why a request did not get to the console, and what browsers are told of it.

        Args:
            scope: the request's.
            words: says it in a language, `id` or `en`.
        """
        ...


class Beside(NamedTuple):
    """The console, and the calls with which it reaches the API."""

    console: Pages
    calls: InnerCalls


def is_page(path: str) -> bool:
    """Say whether a path is one of the console's."""
    return path == CONSOLE or path.startswith(f"{CONSOLE}/")
