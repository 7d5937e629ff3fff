"""The worker: one lane for each neighbour, what expires, and what is to be compared."""

import threading
import time
from urllib.parse import urlsplit

from payment.core.logs import get_logger
from payment.core.neighbours import NEIGHBOURS
from payment.core.setting_rules import is_loopback
from payment.core.settings import Settings
from payment.core.tracing import Tracer
from payment.ledger.expiry import Expirer
from payment.storage.base import Database
from payment.telling.downstream import client_of
from payment.telling.lane import STOP_WITHIN_S, Lane
from payment.telling.reconciler import Reconciler

_log = get_logger()


class Worker:
    """The lanes of all neighbours, what expires, and what is to be compared with what they say."""

    def __init__(self, database: Database, settings: Settings, tracer: Tracer | None = None) -> None:
        self._database = database
        self._stopping = threading.Event()
        self._stop_by_s: float | None = None
        self._lanes = [
            Lane(neighbour, client_of(neighbour, settings), database, settings, tracer)
            for neighbour in NEIGHBOURS.values()
        ]
        self._settings = settings
        self._expirer = Expirer(database, settings, self._stopping, expired=self.wake)
        self._reconciler = Reconciler(
            database, settings, self._stopping, told_again=self.wake, is_busy=self._is_busy
        )

    def start(self) -> None:
        """Start telling."""
        self._warn_of_tokens_in_the_open()
        for lane in self._lanes:
            lane.start()
        self._expirer.start()
        self._reconciler.start()
        self._database.listen(self.wake, self._stopping)

    def wake(self) -> None:
        """Something was booked: look for news now."""
        for lane in self._lanes:
            lane.wake()

    def stuck(self) -> list[str]:
        """Return the neighbours whose lanes do not turn."""
        return [lane.name for lane in self._lanes if lane.is_stuck]

    def _is_busy(self) -> bool:
        return any(lane.is_busy for lane in self._lanes)

    def _warn_of_tokens_in_the_open(self) -> None:
        """Say which token whoever is on the network can read."""
        for neighbour in NEIGHBOURS.values():
            told = self._settings.neighbours[neighbour.name]
            url = urlsplit(told.url)
            if told.token and url.scheme == "http" and not is_loopback(url.hostname or ""):
                see = f"{neighbour.prefix}_SERVICE_URL"
                _log.warning(
                    "a token goes over plain http to another machine", service=neighbour.name, see=see
                )

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
        self._reconciler.join(max(0.0, self._stop_by_s - time.monotonic()))
