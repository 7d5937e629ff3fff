"""The worker: one lane per neighbour, each with its own threads, its own circuit, its own pace.

A lane's own thread claims and settles, in batches, one transaction a turn; its sender threads only send.
What it waits for comes through one inbox: a delivery that ended, a payment that was booked, the stop.
"""

import os
import queue
import random
import secrets
import socket
import threading
import time
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from payment.core.logs import facts_of, get_logger
from payment.core.neighbours import Service
from payment.core.settings import Settings
from payment.core.states import OUTAGES, Outcome, State
from payment.core.units import SECOND_US
from payment.ledger import known_routes as routes
from payment.ledger import outbox
from payment.ledger.expiry import Expirer
from payment.ledger.outbox import Claim, Settlement
from payment.storage.base import Database
from payment.storage.errors import can_be_repeated
from payment.telling.circuit import Circuit, CircuitState
from payment.telling.delivery import judge, send
from payment.telling.downstream import Heard, NeighbourClient, order_client, user_client

IN_HAND_S = 0.1
"""A lane has in hand what it ends in this time: much for one transaction, too little to grow stale."""

IN_HAND_PER_SENDER = (2, 16)
"""But never less or more than this."""

LINGER_S = 0.05
"""While half of that is still in hand, others may end within this time before they are written together."""

DATABASE_PAUSE_S = 1.0
"""How long a lane leaves a database alone that did not answer."""

STOP_WITHIN_S = 9.0
"""How long a stopping lane waits for deliveries in flight; their leases run out by themselves."""


class Ended(NamedTuple):
    """A delivery that ended; `heard` is None if it was not sent at all."""

    claim: Claim
    heard: Heard | None


class Lane:
    """Tells one neighbour.

    Args:
        service: the neighbour.
        client: how it is told.
        database: where the outbox is.
        settings: pace, patience and limits.
    """

    def __init__(
        self, service: Service, client: NeighbourClient, database: Database, settings: Settings
    ) -> None:
        self._service = service
        self._client = client
        self._database = database
        self._settings = settings
        self._circuit = Circuit(
            failures_max=settings.circuit_failures, probe_wait_max_s=settings.circuit_probe_max_s
        )
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._inbox: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()
        self._leased_until_us: dict[int, int] = {}  # of the targets in hand
        self._sending_since_s: dict[int, float] = {}  # of the sender threads that are sending
        self._ended: list[Ended] = []
        self._settlements: list[Settlement] = []
        self._unsent: list[Claim] = []
        self._came_back = False
        self._kept_routes: set[str] = set()  # of the client's known routes those that the database knows
        self._in_hand_max = IN_HAND_PER_SENDER[0] * settings.lane_concurrency
        self._judged_us = 0
        self._renew_us = 0
        self._woken = False
        self._stopping = threading.Event()
        self._log = get_logger(service=service.value)
        self._thread = threading.Thread(target=self._run, name=f"lane-{service}", daemon=True)
        self._senders = [
            threading.Thread(target=self._send_all, name=f"send-{service}-{n}", daemon=True)
            for n in range(settings.lane_concurrency)
        ]

    def start(self) -> None:
        """Start telling."""
        for thread in (self._thread, *self._senders):
            thread.start()

    def wake(self) -> None:
        """Look for news now. Cheap, from any thread."""
        if not self._woken:
            self._woken = True
            self._inbox.put(None)

    def stop(self) -> None:
        """Take nothing new; `join` waits for what is in flight."""
        self._stopping.set()
        self._inbox.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until what was in hand is settled or given back."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        deadline_s: float | None = None
        wait_s = 0.0
        while True:
            try:
                self._gather(wait_s)
                if self._stopping.is_set():
                    deadline_s = deadline_s or time.monotonic() + STOP_WITHIN_S
                wait_s = self._turn(_now_us())
            except SQLAlchemyError as error:
                if can_be_repeated(error):
                    self._log.info("lane crossed another", **facts_of(error))
                    wait_s = 0.0
                else:
                    self._log.error("outbox out of reach", **facts_of(error))
                    wait_s = DATABASE_PAUSE_S
            except Exception:  # noqa: BLE001  # logged; a defect must not end the lane
                self._log.exception("lane failed unexpectedly")
                wait_s = DATABASE_PAUSE_S
            if deadline_s is not None:
                if not self._leased_until_us or time.monotonic() >= deadline_s:
                    break
                wait_s = min(wait_s, 0.1)
        for _ in self._senders:
            self._outgoing.put(None)

    def _gather(self, wait_s: float) -> None:
        """Wait for something in the inbox, then take all that is there; while there is plenty, what comes."""
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
            until_s = time.monotonic() + LINGER_S
            while True:
                if item is not None:
                    self._ended.append(item)
                    if item.heard is None or item.heard.outcome in OUTAGES:
                        until_s = 0.0  # the circuit must know at once
                linger_s = until_s - time.monotonic() if self._has_plenty() else 0.0
                item = self._inbox.get(timeout=linger_s) if linger_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            self._woken = False  # the database is read after this, so no wake is lost

    def _has_plenty(self) -> bool:
        in_hand = len(self._leased_until_us) - len(self._ended) - len(self._settlements) - len(self._unsent)
        return in_hand > self._in_hand_max // 2 and not self._stopping.is_set()

    def _turn(self, now_us: int) -> float:
        """Settle what ended, claim what is due, hand it to the senders.

        Returns:
            How long there is nothing to do, seconds, unless something comes into the inbox.
        """
        self._give_up_the_slow()
        self._look_up_routes()
        self._judge_ended(now_us)
        room, probing = self._room(now_us)
        has_ended = bool(self._settlements or self._unsent)
        must_renew = bool(self._leased_until_us) and now_us >= self._renew_us
        claims: list[Claim] = []
        if has_ended or must_renew:
            claims = self._write(now_us, room, probing=probing)
        due_us = None
        if room and not claims:
            with self._database.read() as connection:
                due_us = outbox.next_due_us(connection, self._service, now_us, probing=probing)
            if due_us is not None and due_us <= now_us:
                claims = self._write(now_us, room, probing=probing)
        for claim in claims:
            self._outgoing.put(claim)
        has_more = bool(claims) and len(claims) < room
        if self._came_back:
            with self._database.write() as connection:
                has_more = outbox.end_outage(connection, self._service, now_us) > 0 or has_more
            self._came_back = False
        return self._idle_s(due_us, now_us, has_more=has_more)

    def _look_up_routes(self) -> None:
        """While our route has not been seen to exist, ask whether another process saw it."""
        if self._client.put_route not in self._client.known_routes:
            with self._database.read() as connection:
                self._kept_routes = routes.find_known(connection, self._client.routes)
            self._client.known_routes.update(self._kept_routes)

    def _give_up_the_slow(self) -> None:
        """End calls whose answer drips: each read is in time, the whole is not."""
        latest_s = time.monotonic() - self._client.deadline_s
        for thread_id, began_s in list(self._sending_since_s.items()):
            if began_s < latest_s:
                self._client.give_up(thread_id)

    def _judge_ended(self, now_us: int) -> None:
        """Judge what ended, once; it stays in hand until it is written."""
        for claim, heard in self._ended:
            if heard is None:
                self._unsent.append(claim)
                continue
            settlement = judge(
                claim,
                heard,
                self._settings.retry,
                now_us=now_us,
                dice=random.random(),  # noqa: S311  # jitter, no secret
                resend_after_us=round(self._settings.resend_after_s * SECOND_US),
            )
            self._settlements.append(settlement)
            self._log_settlement(settlement)
            if not (heard.may_be_unknown and claim.attempts == 0):
                self._note_health(settlement, now_us)  # else whatever else is new is tried first
        if self._ended:
            per_s = len(self._ended) * SECOND_US / max(now_us - self._judged_us, 1)
            least, most = (each * len(self._senders) for each in IN_HAND_PER_SENDER)
            self._in_hand_max = min(max(round(per_s * IN_HAND_S), least), most)
            self._judged_us = now_us
        self._ended.clear()

    def _note_health(self, settlement: Settlement, now_us: int) -> None:
        if settlement.outcome not in OUTAGES:
            if self._circuit.answered_well():
                self._came_back = True
                self._log.info("neighbour answers")
            return
        if self._circuit.failed(now_us, not_before_us=settlement.not_before_us or 0):
            self._log.warning("circuit opened", error=settlement.error)

    def _log_settlement(self, item: Settlement) -> None:
        facts = {
            "notification": item.claim.id,
            "target_id": item.claim.target_id,
            "payment": item.claim.payment_id,
            "status": item.claim.status.value,
            "attempt": item.claim.attempts + 1,
        }
        if item.state is State.DELIVERED:
            self._log.debug("told", **facts)
        elif item.state is State.DEAD:
            self._log.error("gave up telling", error=item.error, **facts)
        else:
            self._log.warning("could not tell", error=item.error, **facts)

    def _room(self, now_us: int) -> tuple[int, bool]:
        """Return how many deliveries may be added, and whether they are probes."""
        state = self._circuit.state(now_us)
        if self._stopping.is_set() or state is CircuitState.OPEN:
            return 0, False
        in_hand = len(self._leased_until_us) - len(self._settlements) - len(self._unsent)
        if state is CircuitState.PROBING:
            return max(0, 1 - in_hand), True
        return max(0, self._in_hand_max - in_hand), False

    def _write(self, now_us: int, room: int, *, probing: bool) -> list[Claim]:
        """Settle, renew and claim, all in one transaction."""
        service, owner = self._service, self._owner
        lease_us = round(self._settings.lease_s * SECOND_US)
        unsent = [claim.target_id for claim in self._unsent]
        ended = {item.claim.target_id for item in self._settlements}.union(unsent)
        kept = self._leased_until_us.keys() - ended
        renews = now_us >= self._renew_us
        claims: list[Claim] = []
        new_routes = self._client.known_routes - self._kept_routes
        with self._database.write() as connection:
            routes.keep_known(connection, new_routes, now_us)
            outbox.settle(connection, service, owner, self._settlements, now_us)
            outbox.release(connection, service, owner, unsent)
            if renews and kept:
                outbox.renew(connection, service, owner, kept, now_us + lease_us)
            if room:
                claims = outbox.claim(
                    connection,
                    service,
                    owner,
                    now_us,
                    lease_us=lease_us,
                    resend_after_us=round(self._settings.resend_after_s * SECOND_US),
                    limit=room,
                    probing=probing,
                )
        # committed: only now may memory say so
        self._kept_routes |= new_routes
        self._settlements.clear()
        self._unsent.clear()
        for target_id in ended:
            self._leased_until_us.pop(target_id, None)
        leased = [claim.target_id for claim in claims]
        self._leased_until_us.update(dict.fromkeys([*kept, *leased] if renews else leased, now_us + lease_us))
        if renews:
            self._renew_us = now_us + lease_us // 3
        return claims

    def _idle_s(self, due_us: int | None, now_us: int, *, has_more: bool) -> float:
        if has_more:
            return 0.0  # one look sees a part of what is due
        waits = [self._settings.poll_interval_s]
        if self._leased_until_us:
            waits.append(max(self._renew_us - now_us, 0) / SECOND_US)
        if due_us is not None and due_us > now_us:
            waits.append((due_us - now_us) / SECOND_US)
        if (open_s := self._circuit.wait_s(now_us)) > 0:
            waits.append(open_s)
        return max(min(waits), 0.001)

    def _send_all(self) -> None:
        while (claim := self._outgoing.get()) is not None:
            self._inbox.put(Ended(claim, self._send(claim)))

    def _send(self, claim: Claim) -> Heard | None:
        now_us = _now_us()
        if self._stopping.is_set() or self._circuit.state(now_us) is CircuitState.OPEN:
            return None
        if now_us >= self._leased_until_us.get(claim.target_id, 0):
            return None  # this process slept too long; somebody else may be telling by now
        self._sending_since_s[threading.get_ident()] = time.monotonic()
        try:
            return send(self._client, claim)
        except Exception:  # noqa: BLE001  # logged below
            # a defect must not end the thread, nor lose the delivery
            self._log.exception("delivery failed unexpectedly", notification=claim.id)
            return Heard(Outcome.OUTAGE, "internal error, see the log", may_come_late=True)
        finally:
            del self._sending_since_s[threading.get_ident()]


class Worker:
    """Both lanes, and what expires."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._stop_by_s: float | None = None
        self._lanes = [
            Lane(Service.ORDER, order_client(settings), database, settings),
            Lane(Service.USER, user_client(settings), database, settings),
        ]
        self._expirer = Expirer(database, settings, self._stopping, expired=self.wake)

    def start(self) -> None:
        """Start telling."""
        for lane in self._lanes:
            lane.start()
        self._expirer.start()
        self._database.listen(self.wake, self._stopping)

    def wake(self) -> None:
        """Something was booked: look for news now."""
        for lane in self._lanes:
            lane.wake()

    def begin_stop(self) -> None:
        """Take nothing new."""
        self._stop_by_s = self._stop_by_s or time.monotonic() + STOP_WITHIN_S
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()

    def stop(self) -> None:
        """Finish what is in flight, give the rest back; returns within STOP_WITHIN_S of `begin_stop`."""
        self.begin_stop()
        assert self._stop_by_s is not None
        for lane in self._lanes:
            lane.join(max(0.0, self._stop_by_s - time.monotonic()))
        self._expirer.join(max(0.0, self._stop_by_s - time.monotonic()))


def _now_us() -> int:
    return time.time_ns() // 1000
