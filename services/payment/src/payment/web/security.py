"""API keys (AUTH=keys): who calls, and may they do this? Connexion's security, built once.

As it comes, Connexion makes a request object and looks into the signature of a function for every request.
The handler here reads the ASGI scope, and asks the key ring in memory (docs/decisions/0015).
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

from connexion.middleware.security import SecurityAPI, SecurityMiddleware, SecurityOperation
from connexion.operations.abstract import AbstractOperation
from connexion.security import AbstractSecurityHandler
from connexion.spec import Specification
from starlette.types import Receive, Scope, Send

from payment.core.cause import actor_of_key
from payment.ledger.key_ring import KeyRing
from payment.web.callers import Caller
from payment.web.http_errors import ApiKeyMissing, ApiKeyRefused, ScopeMissing
from payment.web.in_scope import CONTEXT, SIGNED_IN

ADMIN = "admin"
"""The scope that holds all others."""

Check = Callable[[Scope], Awaitable[Caller]]


def key_given(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return what the caller gives as its API key; nothing that is good, if it gives several.

    Raises:
        ApiKeyMissing: it gives none, or something else than a bearer token.
    """
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        raise ApiKeyMissing
    scheme, _, key = given[0].partition(b" ")
    if len(given) > 1:
        return b""
    if scheme.lower() != b"bearer":
        raise ApiKeyMissing
    return key.strip()


class KeyHandler(AbstractSecurityHandler):
    """Makes what checks the callers of an operation: Connexion's handler of the scheme `bearer`."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def get_fn(self, security_scheme: Any, required_scopes: Sequence[str]) -> Check:
        """Return what finds the caller of a request, who must have these scopes."""
        del security_scheme  # there is one, see `specification`
        return partial(self._check, required_scopes)

    async def _check(self, required_scopes: Sequence[str], scope: Scope) -> Caller:
        """Return who calls.

        Raises:
            ApiKeyMissing: it brings no key.
            ApiKeyRefused: its key is not good.
            ScopeMissing: its key is not good for this.
            Unavailable: nobody knows which keys are good.
        """
        signed_in: str | None = scope.get(SIGNED_IN)
        if signed_in is None:
            key = await self._ring.find(key_given(scope["headers"]))
        else:
            key = self._ring.of_session(signed_in)
        if key is None:
            raise ApiKeyRefused
        for wanted in required_scopes:
            if wanted not in key.scopes and ADMIN not in key.scopes:
                raise ScopeMissing(scope=wanted)
        return Caller(key.client, actor_of_key(key.client, key.id), self._ring.watch(key), key)


class KeyedOperation(SecurityOperation):
    """Lets those in who may call an operation, and says in the Connexion context who they are."""

    def _get_verification_fn(self) -> Check | None:
        asked = self.security[0] if self.security else {}  # the one: `refuse_security` has seen to it
        if not asked:
            return None
        ((name, scopes),) = asked.items()
        return self.security_handler_factory.parse_security_scheme(self.security_schemes[name], scopes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the caller, then pass on."""
        if self.verification_fn is not None:
            scope["extensions"][CONTEXT]["caller"] = await self.verification_fn(scope)
        await self.next_app(scope, receive, send)


class KeyedAPI(SecurityAPI):
    """Makes a KeyedOperation of each operation."""

    def make_operation(self, operation: AbstractOperation | Specification) -> SecurityOperation:
        """Build all that checks the callers of this operation."""
        return KeyedOperation.from_operation(
            operation, next_app=self.next_app, security_handler_factory=self.security_handler_factory
        )


class Security(SecurityMiddleware):
    """Connexion's security with operations that are built once."""

    api_cls = KeyedAPI
