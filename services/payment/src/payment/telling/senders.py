"""The threads of a lane that send: each takes a claim, tells the neighbour, and hands the result back."""

import queue
import threading
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from payment.core.states import Outcome
from payment.core.tracing import Tracer
from payment.ledger.claims import Claim
from payment.telling.delivery import send
from payment.telling.downstream import DeliveryResult, NeighbourClient
from payment.telling.in_hand import Ended


class Senders:
    """Sends claims, as many at a time as there are threads.

    Args:
        client: of the neighbour.
        threads: how many.
        name: of the neighbour.
        may_send: says whether a claim may still be sent; the senders' threads call it.
        ended: takes each delivery that ended; the senders' threads call it.
        log: where defects go.
        tracer: begins the spans of deliveries; None for none.
    """

    def __init__(
        self,
        client: NeighbourClient,
        *,
        threads: int,
        name: str,
        may_send: Callable[[Claim], bool],
        ended: Callable[[Ended], None],
        log: FilteringBoundLogger,
        tracer: Tracer | None = None,
    ) -> None:
        self._client = client
        self._may_send = may_send
        self._ended = ended
        self._log = log
        self._tracer = tracer
        self._claims: queue.SimpleQueue[Claim | None] = queue.SimpleQueue()  # None ends a thread
        self._threads = [
            threading.Thread(target=self._run, name=f"send-{name}-{n}", daemon=True) for n in range(threads)
        ]

    def start(self) -> None:
        """Start waiting for claims."""
        for thread in self._threads:
            thread.start()

    def send(self, claim: Claim) -> None:
        """Send a claim as soon as a thread is free."""
        self._claims.put(claim)

    def end(self) -> None:
        """End each thread after what it is sending."""
        for _ in self._threads:
            self._claims.put(None)

    def _run(self) -> None:
        while (claim := self._claims.get()) is not None:
            self._ended(Ended(claim, self._send(claim) if self._may_send(claim) else None))

    def _send(self, claim: Claim) -> DeliveryResult:
        try:
            return send(self._client, claim, self._tracer)
        except Exception:  # noqa: BLE001  # logged below
            # a defect must not end the thread, nor lose the delivery
            self._log.exception("delivery failed unexpectedly", notification=claim.id)
            return DeliveryResult(Outcome.OUTAGE, "internal error, see the log", may_come_late=True)
