"""The key ring: all keys that are good, in memory, so that a request asks no database who calls.

It looks at the table every second. A key that it does not know may have been made just now, by another
process: whoever is refused waits for one fresh look, which all who are refused meanwhile share
(docs/decisions/0015).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from hmac import compare_digest

from sqlalchemy.exc import SQLAlchemyError

from payment.core import api_key
from payment.core.errors import Unavailable
from payment.core.logs import facts_of, get_logger
from payment.ledger.keys import find_active_keys, note_last_use
from payment.storage.base import Database

LOOK_EVERY_S = 1.0
LOOKS_APART_S = 0.1
"""However many are refused, the table is looked at ten times a second at most."""

LOOK_TIMEOUT_S = 3.0
GOOD_FOR_S = 5.0
"""How old a look may be: what was revoked after it is refused by then, or everything is."""

WAITING_MAX = 64
"""The most that wait for a look; whoever is refused beside them is refused at once."""

NOTE_USE_EVERY_S = 60.0
MINUTE_US = 60_000_000

_log = get_logger()


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A key that is good, until it expires."""

    id: str
    client: str
    scopes: frozenset[str]
    secret_sha256: str = field(repr=False)
    expires_us: int | None

    def is_current(self) -> bool:
        """Say whether it has not expired."""
        return self.expires_us is None or time.time_ns() // 1000 < self.expires_us


_NOBODYS = ActiveKey("", "", frozenset(), api_key.NOBODYS_SHA256, None)


class _Look:
    """A look at the table: who waits for it, and what came of it."""

    def __init__(self) -> None:
        self.has_ended = asyncio.Event()
        self.is_good = False


class KeyRing:
    """The keys that are good. All of it runs on one event loop.

    Args:
        database: where the keys are.
        note_use_every_s: how often it is written when keys were used.
    """

    def __init__(self, database: Database, *, note_use_every_s: float = NOTE_USE_EVERY_S) -> None:
        self._database = database
        self._note_use_every_s = note_use_every_s
        # What the last good look saw, and when that began. A look sets both, requests read them.
        self._keys: Mapping[str, ActiveKey] = {}
        self._seen_s = float("-inf")
        # The look that has not begun. Who is refused waits for it; the looking task takes it.
        self._next = _Look()
        self._is_wanted = asyncio.Event()
        self._waiting = 0
        # When keys were used, since that was last written. Requests write it, the noting task takes it.
        self._used_us: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Look for the first time, and go on looking until `end`."""
        await self._look()
        # nobody's request: what they log has no request's id
        self._tasks = [
            asyncio.create_task(self._look_on(), context=Context()),
            asyncio.create_task(self._note_use_on(), context=Context()),
        ]

    async def end(self) -> None:
        """Look no more, and write what is known of the keys' last use."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._next.has_ended.set()
        await self._note_use()

    async def find(self, given: bytes) -> ActiveKey | None:
        """Return the key that somebody gives, None if it is not good.

        All that are not good take the same way, in the same time, whatever is wrong with them.

        Raises:
            Unavailable: nobody knows which keys are good.
        """
        if not self._is_fresh():
            raise Unavailable
        key = self._match(given)
        if key is None and self._waiting < WAITING_MAX:
            await self._wait_for_look()
            key = self._match(given)
        if key is not None:
            self._used_us[key.id] = time.time_ns() // 1000
        return key

    def of_session(self, key_id: str) -> ActiveKey | None:
        """Return the key with which somebody has signed in, None if it is good no more.

        Raises:
            Unavailable: nobody knows which keys are good.
        """
        if not self._is_fresh():
            raise Unavailable
        key = self._keys.get(key_id)
        if key is None or not key.is_current():
            return None
        self._used_us[key.id] = time.time_ns() // 1000
        return key

    def watch(self, key: ActiveKey) -> Callable[[], bool]:
        """Return what says whether a key is still good: for whoever is answered for long."""
        return partial(self._is_good, key.id)

    def _is_good(self, key_id: str) -> bool:
        key = self._keys.get(key_id)
        return key is not None and key.is_current() and self._is_fresh()

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._seen_s <= GOOD_FOR_S

    def _match(self, given: bytes) -> ActiveKey | None:
        key_id, secret = api_key.id_and_secret_of(given)
        key = self._keys.get(key_id, _NOBODYS)
        is_its_secret = compare_digest(key.secret_sha256, api_key.sha256_of(secret))
        is_current = key.is_current()
        return key if is_its_secret and is_current and key is not _NOBODYS else None

    async def _wait_for_look(self) -> None:
        look = self._next
        self._is_wanted.set()
        self._waiting += 1
        try:
            await look.has_ended.wait()
        finally:
            self._waiting -= 1
        if not look.is_good:
            raise Unavailable

    async def _look_on(self) -> None:
        while True:
            began_s = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):  # `wait_for` of Python 3.11 may swallow `end`
                    await self._is_wanted.wait()
            await asyncio.sleep(began_s + LOOKS_APART_S - time.monotonic())
            await self._look()

    async def _look(self) -> None:
        """Read the keys that are good; if that fails, what is known stays until it is too old."""
        look, self._next = self._next, _Look()
        self._is_wanted.clear()
        began_s, began_us = time.monotonic(), time.time_ns() // 1000
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                rows = await self._database.run_read(
                    lambda connection: find_active_keys(connection, began_us), is_short=True
                )
        except Exception as error:  # noqa: BLE001  # whatever it is: a ring that looks no more lets nobody in
            _log.error("keys not read", **facts_of(error))
        else:
            self._keys = {
                row["id"]: ActiveKey(
                    row["id"],
                    row["client"],
                    frozenset(row["scopes"].split()),
                    row["secret_sha256"],
                    row["expires_us"],
                )
                for row in rows
            }
            self._seen_s = began_s
            look.is_good = True
        finally:
            look.has_ended.set()

    async def _note_use_on(self) -> None:
        while True:
            await asyncio.sleep(self._note_use_every_s)
            await self._note_use()

    async def _note_use(self) -> None:
        """Write when keys were used, to the minute; what cannot be written is tried with the next."""
        used_us, self._used_us = self._used_us, {}
        if not used_us:
            return
        to_the_minute = {key_id: at_us - at_us % MINUTE_US for key_id, at_us in used_us.items()}
        try:
            await self._database.run_write(lambda connection: note_last_use(connection, to_the_minute))
        except SQLAlchemyError as error:
            _log.error("use of keys not noted", **facts_of(error))
            self._used_us = used_us | self._used_us
