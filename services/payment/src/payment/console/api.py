"""The API as the console sees it. Whatever a page shows or does, it gets from here (docs/decisions/0018)."""

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send


class Api(Protocol):
    """Calls operations for whoever reads a page. `serve` gives the console one."""

    def needs(self, operation: str) -> Collection[str]:
        """Return the scopes that an operation asks for."""
        ...

    def scopes(self) -> Mapping[str, str]:
        """Return what an API key may be good for, each scope with what it is for."""
        ...

    async def call(
        self,
        page: Scope,
        method: str,
        path: str,
        *,
        language: str,
        signed_in: str | None,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> tuple[int, Any]:
        """Call an operation; return the status and the JSON of its answer."""
        ...

    async def pass_on(
        self,
        page: Scope,
        receive: Receive,
        send: Send,
        path: str,
        *,
        accept: str,
        language: str,
        signed_in: str | None,
        query: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        """Let an operation answer the page's request itself; return its status.

        If it refuses, nothing was sent; return what it says too.
        """
        ...


class Refused(Exception):
    """The API refuses what a page asks.

    Attributes:
        status: of its answer.
        kind: the name of the problem, `payment-not-found` and the like.
        words: what it says, in the reader's language.
        field: the field at fault, if one is.
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem.get("detail", ""))
        self.status = status
        self.kind = str(problem.get("type", "")).rpartition(":")[2]
        self.words = str(problem.get("detail", ""))
        self.field: str | None = problem.get("field")
