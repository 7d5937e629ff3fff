"""What the clients do: book, settle, give back. By the use cases themselves, at a simulated time."""

from collections.abc import Callable
from functools import partial
from random import Random

from sqlalchemy import Connection

from payment.core.cause import EXPIRY, Cause, actor_of_key, actor_of_user
from payment.core.settings import DAY_S
from payment.core.states import Status
from payment.core.units import SECOND_US
from payment.demo.agenda import Agenda
from payment.demo.staff import CLIENTS, OWNER
from payment.demo.visits import GivenBack, Settled, Share, Visit
from payment.ledger.batch import book
from payment.ledger.expiry import BATCH_MAX, find_expired
from payment.ledger.idempotency import BookedAnswer
from payment.ledger.keys import NewKey, create_key, note_last_use, revoke_key
from payment.ledger.requests import BookingRequest, PaymentRequest, RefundRequest, Settling
from payment.storage.batch import ThreadBatch

MINUTE_US, DAY_US = 60 * SECOND_US, round(DAY_S * SECOND_US)
PENDING_EXPIRES_US = DAY_US
"""As it is unless PENDING_EXPIRES_S says otherwise: the sample days do not depend on settings."""


class _Batch(ThreadBatch):
    """A batch that is committed together with the steps around it."""

    def _commit(self) -> None:
        """Leave that to the transaction of all of them."""


class Till:
    """The clients, with their keys.

    Args:
        agenda: what they do, and when.
        booked: called with the time after each change that the neighbours are to hear of.
        draw: draws the names of requests and traces.
    """

    def __init__(self, agenda: Agenda, booked: Callable[[int], None], draw: Random) -> None:
        self._agenda = agenda
        self._booked = booked
        self._draw = draw
        self._key_ids: dict[str, str] = {}
        self._used_us: dict[str, int] = {}

    def open(self, connection: Connection, now_us: int) -> None:
        """Give each client its key."""
        owner = Cause(actor_of_user(OWNER))
        for client in CLIENTS:
            expires_us = None if client.expires_d is None else now_us + round(client.expires_d * DAY_US)
            made = create_key(connection, NewKey(client.name, client.scopes, expires_us), owner, now_us)
            key_id = self._key_ids[client.name] = made.row["id"]
            if client.leaves_d is not None:
                leaves_us = now_us + round(client.leaves_d * DAY_US)
                self._agenda.at(leaves_us, partial(revoke, key_id, owner))

    def pay(self, visit: Visit, share: Share, connection: Connection, now_us: int) -> None:
        """Book a payment, and see to it that what becomes of it happens."""
        request = PaymentRequest(
            order_id=visit.order_id,
            user_id=visit.user_id,
            amount=share.amount,
            method=share.method,
            status=Status.PENDING if share.waits else Status.PAID,
            order_total=visit.order_total,
            waits_us=PENDING_EXPIRES_US,
            cause=self._cause(share.client, now_us),
        )
        payment_id = int(self._book(connection, request, now_us).location.rpartition("/")[2])
        if share.settled:
            self._agenda.at(share.settled.at_us, partial(self._settle, payment_id, share.settled))
        elif share.waits:
            self._agenda.at(now_us + PENDING_EXPIRES_US + SECOND_US, self._expire)
        if share.given_back:
            self._agenda.at(share.given_back.at_us, partial(self._refund, payment_id, share.given_back))

    def close(self, connection: Connection) -> None:
        """Write when each key was used last."""
        note_last_use(connection, self._used_us)

    def _settle(self, payment_id: int, settled: Settled, connection: Connection, now_us: int) -> None:
        cause = self._cause(settled.client, now_us)
        self._book(connection, Settling(payment_id, settled.status, cause=cause), now_us)

    def _refund(self, payment_id: int, given: GivenBack, connection: Connection, now_us: int) -> None:
        cause = self._cause(given.client, now_us)
        refund = RefundRequest(payment_id, given.amount, given.reason, expected_refunded=0, cause=cause)
        self._book(connection, refund, now_us)

    def _expire(self, connection: Connection, now_us: int) -> None:
        """Let fail what nobody settled, as a worker does."""
        for payment_id in find_expired(connection, now_us, PENDING_EXPIRES_US, limit=BATCH_MAX):
            self._book(connection, Settling(payment_id, Status.FAILED, cause=Cause(EXPIRY)), now_us)

    def _book(self, connection: Connection, request: BookingRequest, now_us: int) -> BookedAnswer:
        (result,) = book(_Batch(connection), [request], now_us)
        if not isinstance(result, BookedAnswer):
            raise result  # the guests broke a rule: a defect of theirs
        self._booked(now_us)
        return result

    def _cause(self, client: str, now_us: int) -> Cause:
        """Return the cause of a request of a client."""
        key_id = self._key_ids[client]
        self._used_us[key_id] = now_us // MINUTE_US * MINUTE_US
        trace = f"00-{self._draw.getrandbits(128):032x}-{self._draw.getrandbits(64):016x}-01"
        return Cause(actor_of_key(client, key_id), f"{self._draw.getrandbits(128):032x}", trace)


def revoke(key_id: str, cause: Cause, connection: Connection, now_us: int) -> None:
    """Let a key be good no more."""
    revoke_key(connection, key_id, cause, now_us)
