"""Who reads the pages: a browser's cookie, and the API key with which its owner has signed in.

A session is a signed cookie. It ends with its key, with its time, or when its owner signs out in this
browser; nothing is stored of it here. Each has a token of its own, which every form must send: a page of
another site does not know it.
"""

import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from payment.ledger.key_ring import ActiveKey, KeyRing

COOKIE = "payment_console"
_VISITOR = re.compile(r"v\.[A-Za-z0-9_-]{22}", re.ASCII)
_SESSION = re.compile(r"(s\.([0-9A-Za-z]{8})\.([0-9]{1,12})\.[A-Za-z0-9_-]{22})\.([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Session:
    """What a browser's cookie stands for.

    Attributes:
        cookie: its value.
        key: with which its owner has signed in; None if nobody has.
        is_new: the browser does not have the cookie yet.
        has_ended: somebody had signed in, but may go on no longer.
    """

    cookie: str = field(repr=False)
    key: ActiveKey | None = None
    is_new: bool = False
    has_ended: bool = False

    @property
    def token(self) -> str:
        """Return what every form of its owner sends. Who does not know the cookie cannot know it."""
        return sha256(f"form {self.cookie}".encode()).hexdigest()

    def sent(self, token: str) -> bool:
        """Say whether a form with this token is its owner's."""
        return hmac.compare_digest(self.token.encode(), token.encode(errors="replace"))


def new_visitor(*, has_ended: bool = False) -> Session:
    """Return the session of somebody who has not signed in."""
    return Session(f"v.{secrets.token_urlsafe(16)}", is_new=True, has_ended=has_ended)


class Sessions:
    """Opens sessions, and knows them again.

    Args:
        key_ring: the API keys that are good; None where nobody has to sign in (AUTH=none).
        secret: what cookies are signed with; None for one that this process draws.
        lasts_s: how long a session lasts.
        now_s: the time, seconds since the epoch.
    """

    def __init__(
        self,
        key_ring: KeyRing | None,
        *,
        secret: str | None,
        lasts_s: float,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._key_ring = key_ring
        self._secret = secret.encode() if secret else secrets.token_bytes(32)
        self.lasts_s = lasts_s
        self._now_s = now_s

    @property
    def asks_for_keys(self) -> bool:
        """Say whether one has to sign in."""
        return self._key_ring is not None

    async def sign_in(self, given: str) -> Session | None:
        """Return the session of whoever gives this API key, None if it is not good.

        Raises:
            Unavailable: nobody knows which keys are good.
        """
        assert self._key_ring is not None
        key = await self._key_ring.find(given.encode(errors="replace"))
        if key is None:
            return None
        text = f"s.{key.id}.{int(self._now_s())}.{secrets.token_urlsafe(16)}"
        return Session(f"{text}.{self._signature(text)}", key, is_new=True)

    def read(self, cookie: str | None) -> Session:
        """Return the session that a cookie stands for; that of a new visitor for any other text.

        Raises:
            Unavailable: nobody knows which keys are good.
        """
        if cookie and _VISITOR.fullmatch(cookie):
            return Session(cookie)
        found = _SESSION.fullmatch(cookie or "")
        if found is None or self._key_ring is None:
            return new_visitor()
        text, key_id, began_s, signature = found.groups()
        if not hmac.compare_digest(signature, self._signature(text)):
            return new_visitor(has_ended=True)  # of a secret that was before this one, most likely
        key = self._key_ring.of_session(key_id)
        if key is None or not 0 <= self._now_s() - int(began_s) < self.lasts_s:
            return new_visitor(has_ended=True)
        return Session(found[0], key)

    def _signature(self, text: str) -> str:
        return hmac.new(self._secret, f"console {text}".encode(), sha256).hexdigest()
