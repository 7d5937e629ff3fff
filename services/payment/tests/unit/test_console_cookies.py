"""Sessions of the console: what a cookie is worth, and for how long."""

import asyncio
from typing import cast

import pytest

from payment.console.sessions import Session, Sessions
from payment.ledger.key_ring import ActiveKey, KeyRing

SECRET = "s" * 32
KEY = ActiveKey("R7mQ2xVb", "kasir-1", frozenset({"payments:read"}), "0" * 64, None)


class Ring:
    """A key ring with one key, as the console uses it."""

    def __init__(self) -> None:
        self.keys = {KEY.id: KEY}

    async def find(self, given: bytes) -> ActiveKey | None:
        """Return the key to whoever says `good`."""
        return KEY if given == b"good" else None

    def of_session(self, key_id: str) -> ActiveKey | None:
        """Return the key while it is there."""
        return self.keys.get(key_id)


class Clock:
    """A time that a test sets."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


def sessions(ring: Ring | None = None, clock: Clock | None = None, secret: str | None = SECRET) -> Sessions:
    return Sessions(cast("KeyRing", ring or Ring()), secret=secret, lasts_s=600, now_s=clock or Clock())


def signed_in(made: Sessions) -> Session:
    session = asyncio.run(made.sign_in("good"))
    assert session is not None
    return session


def test_who_has_signed_in_is_known_again() -> None:
    made = sessions()
    cookie = signed_in(made).cookie
    again = made.read(cookie)
    assert (again.key, again.is_new, again.cookie) == (KEY, False, cookie)


def test_no_other_key_signs_in() -> None:
    assert asyncio.run(sessions().sign_in("bad")) is None


def test_a_session_ends_with_its_time() -> None:
    clock = Clock()
    made = sessions(clock=clock)
    cookie = signed_in(made).cookie
    clock.now_s += 599
    assert made.read(cookie).key == KEY
    clock.now_s += 1
    assert made.read(cookie).key is None
    assert made.read(cookie).has_ended


def test_a_session_of_the_future_is_none() -> None:
    clock = Clock()
    made = sessions(clock=clock)
    cookie = signed_in(made).cookie
    clock.now_s -= 1
    assert made.read(cookie).key is None


def test_a_session_ends_with_its_key() -> None:
    ring = Ring()
    made = sessions(ring)
    cookie = signed_in(made).cookie
    ring.keys.clear()
    assert made.read(cookie).key is None
    assert made.read(cookie).has_ended


def test_a_cookie_that_was_changed_anywhere_is_none() -> None:
    made = sessions()
    cookie = signed_in(made).cookie
    for at, char in enumerate(cookie):
        other = "0" if char != "0" else "1"
        changed = cookie[:at] + other + cookie[at + 1 :]
        assert made.read(changed).key is None, changed
    for text in ("", "x", cookie[:-1], cookie + "0", cookie + "\n", "v." + "a" * 23, "é" * 30):
        assert made.read(text).key is None
        assert made.read(text).is_new


def test_processes_with_one_secret_know_each_others_sessions() -> None:
    cookie = signed_in(sessions()).cookie
    assert sessions().read(cookie).key == KEY
    assert sessions(secret="t" * 32).read(cookie).key is None
    assert sessions(secret=None).read(cookie).key is None


def test_each_session_has_a_token_of_its_own() -> None:
    made = sessions()
    one, other = signed_in(made), signed_in(made)
    assert one.token != other.token
    assert one.sent(one.token)
    assert not one.sent(other.token)
    assert not one.sent("")
    assert not one.sent("é")


@pytest.mark.parametrize("session", [signed_in(sessions())])
def test_nothing_that_lets_anybody_in_is_shown_of_a_session(session: Session) -> None:
    assert session.cookie not in repr(session)


def test_without_keys_everybody_is_a_visitor() -> None:
    made = Sessions(None, secret=SECRET, lasts_s=600)
    assert not made.asks_for_keys
    first = made.read(None)
    assert first.is_new
    assert made.read(first.cookie).cookie == first.cookie
    assert made.read(signed_in(sessions()).cookie).key is None
