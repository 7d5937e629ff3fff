"""The innermost application: it calls the function that an operationId names, and sends its answer."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from connexion.middleware.abstract import RoutedAPI, RoutedMiddleware
from connexion.operations.abstract import AbstractOperation
from connexion.spec import Specification
from starlette.types import Receive, Scope, Send

from payment.core.cause import Cause
from payment.core.record import record
from payment.core.settings import KeysRequired
from payment.ledger.ledger import Ledger
from payment.watching.exposition import Exposition
from payment.web.callers import NOBODY_IN_PARTICULAR, Caller
from payment.web.headers import next_link, trace_in, values_of
from payment.web.in_scope import CONTEXT, PLACE, REQUEST_ID
from payment.web.replies import Reply, Stream


@record(frozen=True, slots=True)
class Request:
    """A validated request as an operation of the API gets it."""

    scope: Scope
    ledger: Ledger
    caller: Caller
    parameters: Mapping[str, Any]
    body: Mapping[str, Any]
    exposition: Exposition
    keys_required: KeysRequired

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None if it is not there."""
        return next(iter(self.header_values(name.encode())), None)

    def header_values(self, name: bytes) -> list[str]:
        """Return all values of a header (its name in lower case)."""
        return values_of(self.scope["headers"], name)

    def stream(self) -> None:
        """Have a stream's place from now on, before anything is done for it.

        Raises:
            Unavailable: there are too many.
        """
        self.scope[PLACE].stream()

    def cause(self) -> Cause:
        """Return what a change that it asks for comes from; see `headers.trace_in` for its trace."""
        return Cause(self.caller.actor, self.scope[REQUEST_ID], trace_in(self.scope))

    def next_link(self, cursor: str | None, parameter: str = "cursor") -> list[tuple[bytes, bytes]]:
        """Return the `Link` header to the page that begins at the cursor; none if there is none."""
        return next_link(self.scope["path"], self.scope["query_string"], cursor, parameter)


Handler = Callable[[Request], Awaitable[Reply | Stream]]


class Endpoint:
    """Calls the function that an operationId names.

    Args:
        handler: that function.
        within: what all requests have of the process: see `Request`.
    """

    def __init__(self, handler: Handler, within: Mapping[str, Any]) -> None:
        self._handler = handler
        self._request = partial(Request, **within)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call it and send its reply; the body has been read."""
        context = scope["extensions"][CONTEXT]
        caller = context.get("caller", NOBODY_IN_PARTICULAR)
        request = self._request(
            scope=scope, caller=caller, parameters=context["parameters"], body=context.get("body", {})
        )
        reply = await self._handler(request)
        if isinstance(reply, Reply):
            await reply.send(send)
        else:
            head_only = scope["method"] == "HEAD"
            await reply.send(send, receive, head_only=head_only, is_allowed=caller.is_allowed)


class EndpointAPI(RoutedAPI[Endpoint]):
    """The operations of the specification as endpoints."""

    def __init__(self, *args: Any, within: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._within = within
        self.add_paths()

    def make_operation(self, operation: AbstractOperation) -> Endpoint:
        """Build the endpoint of an operation."""
        return Endpoint(operation.function, self._within)


class Endpoints(RoutedMiddleware[EndpointAPI]):
    """The innermost app: one endpoint an operation."""

    api_cls = EndpointAPI

    def __init__(self, ledger: Ledger, exposition: Exposition, keys_required: KeysRequired) -> None:
        super().__init__(app=self)  # nothing comes after it
        self._within = {"ledger": ledger, "exposition": exposition, "keys_required": keys_required}

    def add_api(self, specification: Specification, **kwargs: Any) -> EndpointAPI:
        """Register a specification."""
        return super().add_api(specification, within=self._within, **kwargs)
