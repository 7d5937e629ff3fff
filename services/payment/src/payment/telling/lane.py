"""A lane: tells one neighbour, with threads, a circuit breaker and a pace of its own.

The lane's own thread claims, and writes what became of the claims, one transaction a turn. Its senders only
send. What the thread waits for comes through one inbox: a delivery that ended, a wake, the stop.
"""

import os
import queue
import random
import secrets
import socket
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from payment.core.logs import facts_of, get_logger
from payment.core.metrics import expect_neighbour, note_attempt, note_told
from payment.core.neighbours import Neighbour
from payment.core.settings import Settings
from payment.core.states import OUTAGES, Outcome, State
from payment.core.tracing import Tracer
from payment.core.units import SECOND_US
from payment.ledger import claims as claiming
from payment.ledger import clock_steps, judgements, leases, outages
from payment.ledger import known_routes as routes
from payment.ledger.claims import Claim
from payment.ledger.judgements import Judgement
from payment.storage.base import Database
from payment.storage.errors import can_be_repeated
from payment.telling.circuit import Circuit, CircuitState
from payment.telling.delivery import judge_delivery, log_judgement
from payment.telling.downstream import NeighbourClient
from payment.telling.in_hand import Ended, InHand
from payment.telling.pulse import Pulse
from payment.telling.senders import Senders

LINGER_S = 0.05
"""News and ended deliveries wait for more until this long after the last ones: a turn costs as much as a few
PUTs. Nothing waits while the lane is behind and its senders run out of work."""

DATABASE_PAUSE_S = 1.0
"""How long a lane pauses after an error."""

LOOK_AT_CLOCK_S = 5.0
"""How often a lane looks for what a clock that was ahead has put off."""

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

STOP_WITHIN_S = 9.0
"""How long a stopping lane waits for deliveries in flight; the leases of later ones run out."""


class Lane:
    """Tells one neighbour.

    Args:
        neighbour: whom to tell.
        client: how it is called.
        database: where the outbox is.
        settings: pace, patience and limits.
        tracer: begins the spans of deliveries; None for none.
    """

    def __init__(
        self,
        neighbour: Neighbour,
        client: NeighbourClient,
        database: Database,
        settings: Settings,
        tracer: Tracer | None = None,
    ) -> None:
        self._neighbour = neighbour
        self._client = client
        self._database = database
        self._settings = settings
        self._lease_us = round(settings.lease_s * SECOND_US)
        self._resend_after_us = round(settings.resend_after_s * SECOND_US)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._log = get_logger(service=neighbour.name)
        self._thread = threading.Thread(target=self._run, name=f"lane-{neighbour.name}", daemon=True)
        retry = settings.retry
        self._longest_wait_us = round(max(retry.wait_max_s, retry.retry_after_max_s) * SECOND_US)
        # filled by any thread, emptied by the lane's; None: look at the outbox now
        self._inbox: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()
        self._senders = Senders(
            client,
            threads=settings.lane_concurrency,
            name=neighbour.name,
            may_send=self._may_send,
            ended=self._inbox.put,
            log=self._log,
            tracer=tracer,
        )
        # written by the lane's thread, read by whoever asks whether it turns
        self._pulse = Pulse()
        # written and read by the lane's thread alone
        self._looks_at_clock_s = 0.0  # on the clock of `time.monotonic`
        self._has_come_back = False  # `end_outage` is still to be called
        self._stored_routes: set[str] = set()  # the client's known routes that the database has
        # written by the lane's thread, read by the senders too
        self._circuit = Circuit(
            failures_max=settings.circuit_failures, probe_wait_max_s=settings.circuit_probe_max_s
        )
        self._in_hand = InHand(settings.lane_concurrency)
        self._keeps_up = False  # the last turn found less than the senders could take
        self._lingers_until_s = 0.0  # on the clock of `time.monotonic`
        # set by whoever wakes, cleared by the lane's thread: a look at the outbox is due
        self._is_woken = False
        # set by whoever stops, read by all
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start telling."""
        expect_neighbour(self._neighbour.name, list(Outcome), lambda: self._circuit.is_broken)
        self._thread.start()
        self._senders.start()

    @property
    def name(self) -> str:
        """Return whom it tells."""
        return self._neighbour.name

    @property
    def is_busy(self) -> bool:
        """Say whether it has something in hand; whoever runs beside it asks."""
        return not self._in_hand.is_empty

    @property
    def is_stuck(self) -> bool:
        """Say whether its thread hangs, or is no more."""
        return self._pulse.is_stuck or not (self._thread.is_alive() or self._stopping.is_set())

    def wake(self) -> None:
        """Look for news now. Cheap, from any thread."""
        if not self._is_woken:
            self._is_woken = True
            self._inbox.put(None)

    def stop(self) -> None:
        """Take nothing new; `join` waits for what is in flight."""
        self._stopping.set()
        self._inbox.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait until what was in hand is written or given back."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        deadline_s: float | None = None
        wait_s = 0.0
        while True:
            try:
                self._pulse.rests()
                self._gather(wait_s)
                self._pulse.turns()
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
                if self._in_hand.is_empty or time.monotonic() >= deadline_s:
                    break
                wait_s = min(wait_s, 0.1)
        self._senders.end()

    def _gather(self, wait_s: float) -> None:
        """Wait for something in the inbox, take all that is there; linger unless the senders run dry."""
        try:
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
            is_urgent = False
            while True:
                if item is not None:
                    self._in_hand.ended.append(item)
                    if item.result is None or item.result.outcome in OUTAGES:
                        is_urgent = True  # the circuit must know at once
                lingers = self._keeps_up or self._in_hand.has_plenty
                if is_urgent or self._stopping.is_set():
                    lingers = False
                linger_s = self._lingers_until_s - time.monotonic() if lingers else 0.0
                item = self._inbox.get(timeout=linger_s) if linger_s > 0 else self._inbox.get_nowait()
        except queue.Empty:
            self._is_woken = False  # the database is read after this, so no wake is lost

    def _turn(self, now_us: int) -> float:
        """Write what ended, claim what is due, hand it to the senders.

        Returns:
            How long there is nothing to do, seconds, unless something comes into the inbox.
        """
        self._client.end_slow_calls()
        self._judge_ended(now_us)
        self._look_up_routes()
        self._look_at_clock(now_us)
        room, probing = self._room()
        claims: list[Claim] = []
        if self._in_hand.has_results or self._in_hand.must_renew(_steady_us()):
            claims = self._write(now_us, room, probing=probing)  # claims in the same transaction
        due_us = None
        if room and not claims:
            with self._database.read() as connection:
                due_us = claiming.next_due_us(
                    connection, self._neighbour, now_us, lease_us=self._lease_us, probing=probing
                )
            if due_us is not None and due_us <= now_us:
                claims = self._write(now_us, room, probing=probing)
        for claim in claims:
            self._senders.send(claim)
        has_more = bool(claims) and len(claims) < room
        self._keeps_up = len(claims) < room // 2
        if self._has_come_back:
            with self._database.write() as connection:
                has_more = outages.end_outage(connection, self._neighbour, now_us) > 0 or has_more
            self._has_come_back = False
        return self._idle_s(due_us, now_us, has_more=has_more)

    def _look_at_clock(self, now_us: int) -> None:
        """Now and then make due what was put off by a clock that was ahead, ours or another's."""
        if time.monotonic() < self._looks_at_clock_s:
            return
        self._looks_at_clock_s = time.monotonic() + LOOK_AT_CLOCK_S
        waits = {"repeat_us": self._resend_after_us, "longest_us": self._longest_wait_us}
        with self._database.read() as connection:
            is_ahead = clock_steps.is_put_off(connection, self._neighbour, now_us, **waits)
        if is_ahead:
            with self._database.write() as connection:
                count = clock_steps.make_due(connection, self._neighbour, now_us, **waits)
            self._log.warning("a clock was ahead, what it put off is due now", count=count)

    def _look_up_routes(self) -> None:
        """While our route has not been seen to exist, ask whether another process saw it."""
        if self._client.put_route not in self._client.known_routes:
            with self._database.read() as connection:
                self._stored_routes = routes.find_known(connection, self._client.routes)
            self._client.known_routes.update(self._stored_routes)

    def _judge_ended(self, now_us: int) -> None:
        """Judge what ended, once; it stays in hand until it is written."""
        for claim, result in self._in_hand.ended:
            if result is None:
                self._in_hand.unsent.append(claim)
                continue
            judgement = judge_delivery(
                claim,
                result,
                self._settings.retry,
                now_us=now_us,
                jitter=random.random(),  # noqa: S311  # no secret
                resend_after_us=self._resend_after_us,
            )
            self._in_hand.judgements.append(judgement)
            log_judgement(self._log, judgement)
            note_attempt(self._neighbour.name, judgement.outcome)
            if judgement.state is State.DELIVERED and not claim.is_repeat:
                note_told(self._neighbour.name, (now_us - claim.created_us) / SECOND_US)
            if not (result.may_be_unknown and claim.attempts == 0):
                self._note_health(judgement, now_us)  # else it may be one unknown id: others go first
        self._in_hand.all_judged(_steady_us())

    def _note_health(self, judgement: Judgement, now_us: int) -> None:
        if judgement.outcome not in OUTAGES:
            if self._circuit.answered_well():
                self._has_come_back = True
                self._log.info("neighbour answers")
            return
        steady_us = _steady_us()
        asked_us = judgement.not_before_us and judgement.not_before_us - now_us + steady_us
        if self._circuit.failed(steady_us, not_before_us=asked_us or 0):
            self._log.warning("circuit opened", error=judgement.error)

    def _room(self) -> tuple[int, bool]:
        """Return how many deliveries may be added, and whether they are probes."""
        state = self._circuit.state(_steady_us())
        if self._stopping.is_set() or state is CircuitState.OPEN:
            return 0, False
        if state is CircuitState.PROBING:
            return max(0, 1 - self._in_hand.sending), True
        return self._in_hand.room, False

    def _write(self, now_us: int, room: int, *, probing: bool) -> list[Claim]:
        """Record results, give back, renew and claim, all in one transaction; return the claims."""
        in_hand, neighbour, owner = self._in_hand, self._neighbour, self._owner
        steady_us = _steady_us()  # before the database's clock is asked, so we think of it as over first
        until_us = steady_us + self._lease_us
        renews = steady_us >= in_hand.renew_us
        renewed = in_hand.unfinished() if renews else set()
        new_routes = self._client.known_routes - self._stored_routes
        claims: list[Claim] = []
        with self._database.write() as connection:
            routes.keep_known(connection, new_routes, now_us)
            judgements.record(connection, neighbour, owner, in_hand.judgements, now_us)
            leases.release(connection, neighbour, owner, [claim.target_id for claim in in_hand.unsent])
            if renewed:
                leases.renew(connection, neighbour, owner, renewed, self._lease_us)
            if room:
                claims = claiming.claim(
                    connection,
                    neighbour,
                    owner,
                    now_us,
                    lease_us=self._lease_us,
                    resend_after_us=self._resend_after_us,
                    limit=room,
                    probing=probing,
                )
        self._lingers_until_s = time.monotonic() + LINGER_S
        # committed: only now may memory say so
        self._stored_routes |= new_routes
        in_hand.written(claims, renewed, until_us)
        if renews:
            in_hand.renew_us = steady_us + self._lease_us // 3
        return claims

    def _idle_s(self, due_us: int | None, now_us: int, *, has_more: bool) -> float:
        if has_more:  # more may be due: a claim takes a part of it
            return max(0.0, self._lingers_until_s - time.monotonic()) if self._keeps_up else 0.0
        waits = [self._settings.poll_interval_s]
        if not self._in_hand.is_empty:
            waits.append(max(self._in_hand.renew_us - _steady_us(), 0) / SECOND_US)
        if due_us is not None and due_us > now_us:
            waits.append((due_us - now_us) / SECOND_US)
        if (open_s := self._circuit.wait_s(_steady_us())) > 0:
            waits.append(open_s)
        return max(min(waits), 0.001)

    def _may_send(self, claim: Claim) -> bool:
        """Say whether a claim may be sent now; a sender asks. If not, it is given back."""
        steady_us = _steady_us()
        if self._stopping.is_set() or self._circuit.state(steady_us) is CircuitState.OPEN:
            return False
        # False: the lease ran out while this process slept, and another may be telling by now
        return self._in_hand.is_leased(claim.target_id, steady_us)


def _now_us() -> int:
    return time.time_ns() // 1000


def _steady_us() -> int:
    """Return the time of a clock that nobody sets; on Linux it goes on while the machine sleeps."""
    return time.clock_gettime_ns(_STEADY) // 1000
