"""Works off reconciliations that were asked for over HTTP, in a thread of the worker (decision 0029)."""

import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import RowMapping
from sqlalchemy.exc import SQLAlchemyError

from payment.core.cause import Cause
from payment.core.logs import facts_of, get_logger
from payment.core.neighbours import NEIGHBOURS
from payment.core.settings import Settings
from payment.core.states import DISAGREEMENTS, Verdict
from payment.core.units import SECOND_US
from payment.ledger import reconciliations
from payment.ledger.batch import fails_alone
from payment.ledger.listing import Position
from payment.ledger.reconciliations import Step
from payment.storage.base import Database
from payment.telling.asking import BrokenOff
from payment.telling.downstream import client_of
from payment.telling.reconcile import Chunk, reconcile, tell_again

PAUSE_MAX_S = 1.0
"""The longest between two looks, each at one entry of an index that is nearly always empty."""

ASKS_PART = 4
"""Of the neighbours' `LANE_CONCURRENCY` it takes one in so many: news goes first."""

RESTS_MAX = 9
"""While the lanes have something to tell, a rest follows each chunk of payments, at most so many times as
long: it takes a tenth of the worker's time from them."""

REST_MAX_S = 30.0
"""But no longer: what took long waited for a neighbour."""

PATIENCE_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, *[60.0] * 9)
"""How long it waits for a neighbour that does not answer, ten minutes in all; then it goes on without it."""

LOOK_S = 0.1
"""How often a rest looks whether they still have."""


class Reconciler:
    """Compares what somebody asked for: one of all workers, and another where that one ended.

    Args:
        database: where the payments are.
        settings: of the neighbours, and how often to look.
        stopping: ends the thread when it is set; the chunk of payments in hand is left to whoever goes on.
        told_again: called in that thread when something is to be told again.
        is_busy: says whether this worker has news to tell.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        stopping: threading.Event,
        told_again: Callable[[], None],
        is_busy: Callable[[], bool],
    ) -> None:
        self._database = database
        self._settings = settings
        self._stopping = stopping
        self._told_again = told_again
        self._is_busy = is_busy
        self._lease_us = round(settings.lease_s * SECOND_US)
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._log = get_logger()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the lease is given back."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if (asked := self._take()) is not None:
                    self._work_off(asked)
            except SQLAlchemyError as error:  # the lease runs out, and whoever has the next goes on
                self._log.warning("cannot reconcile", **facts_of(error))
            except Exception:  # noqa: BLE001  # logged; a defect must not end the thread
                self._log.exception("reconciling failed unexpectedly")
            self._stopping.wait(min(PAUSE_MAX_S, self._settings.poll_interval_s))

    def _take(self) -> RowMapping | None:
        with self._database.read() as connection:
            if not reconciliations.is_due(connection, self._lease_us):
                return None
        with self._database.write() as connection:
            return reconciliations.take(connection, self._owner, _now_us(), lease_us=self._lease_us)

    def _work_off(self, asked: RowMapping) -> None:
        log = self._log.bind(reconciliation=asked["id"])
        log.info("reconciling")
        ended, lost = threading.Event(), threading.Event()
        renewing = threading.Thread(target=self._renew, args=(asked["id"], ended, lost), daemon=True)
        renewing.start()
        error = None
        try:
            self._compare(asked, lost)
        except BrokenOff:
            with self._database.write() as connection:
                reconciliations.give_back(connection, asked["id"], self._owner)
            log.info("no longer reconciling")
            return
        except Exception as failure:
            if isinstance(failure, SQLAlchemyError) and not fails_alone(failure):
                raise
            log.exception("a reconciliation failed")  # it says so, or it would be tried without end
            error = f"{type(failure).__name__}; the worker's log says more"
        finally:
            ended.set()
            renewing.join()
        with self._database.write() as connection:
            reconciliations.end(connection, asked["id"], self._owner, _now_us(), error=error)
        if not error:
            log.info("reconciled")

    def _compare(self, asked: RowMapping, lost: threading.Event) -> None:
        """Go through the payments.

        Raises:
            BrokenOff: it is not ours any more, or this worker stops.
        """

        def goes_on() -> bool:
            return not (self._stopping.is_set() or lost.is_set())

        named = asked["service"]
        neighbours = [each for each in NEIGHBOURS.values() if named in (None, each.name)]
        chunks = reconcile(
            self._database,
            [client_of(neighbour, self._settings) for neighbour in neighbours],
            after=Position(asked["after_us"], asked["after_id"]),
            until_us=asked["last_us"],
            concurrency=max(1, self._settings.lane_concurrency // ASKS_PART),
            patience_s=PATIENCE_S,
            goes_on=goes_on,
        )
        began_s = time.monotonic()
        for chunk in chunks:
            if not self._keep(asked, chunk):
                raise BrokenOff
            self._rest(min(RESTS_MAX * (time.monotonic() - began_s), REST_MAX_S), goes_on)
            began_s = time.monotonic()
            if not goes_on():
                raise BrokenOff

    def _keep(self, asked: RowMapping, chunk: Chunk) -> bool:
        cause = Cause(asked["actor"], asked["request_id"], asked["traceparent"])
        disagreements: list[dict[str, Any]] = [
            {**finding.facts(), "payment_id": finding.target.payment_id}
            for finding in chunk.findings
            if finding.verdict in DISAGREEMENTS
        ]
        counts = Counter(finding.verdict for finding in chunk.findings)
        repaired = counts[Verdict.DIFFERS] if asked["repair"] else 0
        step = Step(counts, disagreements, chunk.last, repaired)
        with self._database.write() as connection:
            is_ours = reconciliations.keep(connection, asked["id"], self._owner, step)
            if is_ours and repaired:
                tell_again(connection, chunk.findings, cause)
        if is_ours and repaired:
            self._told_again()
        return is_ours

    def _rest(self, longest_s: float, goes_on: Callable[[], bool]) -> None:
        """Let the lanes tell what they have, for so long at most."""
        until_s = time.monotonic() + longest_s
        while self._is_busy() and time.monotonic() < until_s and goes_on():
            self._stopping.wait(LOOK_S)

    def _renew(self, reconciliation_id: str, ended: threading.Event, lost: threading.Event) -> None:
        renew = partial(reconciliations.renew, lease_us=self._lease_us)
        while not ended.wait(self._settings.lease_s / 3):
            try:
                with self._database.write() as connection:
                    if not renew(connection, reconciliation_id, self._owner):
                        lost.set()
                        return
            except SQLAlchemyError as error:
                self._log.warning("a lease was not renewed", **facts_of(error))


def _now_us() -> int:
    return time.time_ns() // 1000
