"""The feed of events as the API reads it: a page, a wait for the next one, the story of one payment."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from payment.ledger.event_log import EventPage, EventSelection, Place, find_events, find_newest_place
from payment.ledger.feed_watch import FeedWatch
from payment.ledger.lookups import check_payment

Result = TypeVar("Result")


class Read(Protocol):
    """Runs a query that only reads, off the event loop; raises `Unavailable` if the database is away."""

    async def __call__(self, query: Callable[[Connection], Result], *, is_short: bool = False) -> Result:
        """Run it."""
        ...


class Feed:
    """Reads the log of events. Every method runs on the event loop.

    Args:
        read: runs a query.
        readers_max: the most whose answer is held back at a time.
    """

    def __init__(self, read: Read, *, readers_max: int) -> None:
        self._read = read
        self._watch = FeedWatch(self.newest, readers_max=readers_max)

    async def page(self, selection: EventSelection, after: Place, limit: int) -> EventPage:
        """Return events, oldest first; see `event_log.find_events`.

        Raises:
            CursorGone: the place is not in this log, or no longer.
            Unavailable: the database does not answer.
        """
        return await self._read(lambda connection: find_events(connection, selection, after, limit))

    async def page_within(
        self, selection: EventSelection, page: EventPage, limit: int, within_s: float
    ) -> EventPage:
        """Return what comes after an empty page, once there is something; an empty page if that takes longer.

        Raises:
            CursorGone: the page is no longer in this log.
            Unavailable: the database does not answer, or too many wait.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        with self._watch.reader():
            while not page.events and await self._watch.wait(page.place, until_s - loop.time()):
                page = await self.page(selection, page.place, limit)
        return page

    async def story(self, payment_id: int, after: Place, limit: int) -> EventPage:
        """Return what happened to a payment, oldest first: all that is committed.

        Raises:
            PaymentNotFound: there is no such payment.
            CursorGone: the place is not in this log, or no longer.
            Unavailable: the database does not answer.
        """

        def find(connection: Connection) -> EventPage:
            check_payment(connection, payment_id)
            which = EventSelection(payment_id=payment_id)
            return find_events(connection, which, after, limit, final_only=False)

        return await self._read(find)

    async def newest(self) -> Place:
        """Return the place of the newest event.

        Raises:
            Unavailable: the database does not answer.
        """
        return await self._read(find_newest_place, is_short=True)

    async def has_next(self, after: Place, within_s: float) -> bool:
        """Return True once there is an event after this one, False if that takes longer or the feed ends."""
        return await self._watch.wait(after, within_s)

    @property
    def has_ended(self) -> bool:
        """Say whether the process ends, so that nobody may follow any longer."""
        return self._watch.has_ended

    def notice(self) -> None:
        """Look for events now: this process has written some."""
        self._watch.notice()

    def end(self) -> None:
        """Let nobody wait any longer."""
        self._watch.end()
