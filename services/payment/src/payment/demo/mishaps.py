"""What goes wrong between us and the neighbours in the sample days, and what they answer then. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from payment.core.neighbours import Neighbour
from payment.core.states import Outcome
from payment.telling.downstream import DeliveryResult

TOLD = DeliveryResult(Outcome.DELIVERED)

REFUSED = DeliveryResult(
    Outcome.OUTAGE,
    "ConnectionError: Connection(host='order', port=5003): Failed to establish a new connection: "
    "[Errno 111] Connection refused",
)
SILENT = DeliveryResult(
    Outcome.OUTAGE,
    "ReadTimeout: Connection(host='order', port=5003): Read timed out. (read timeout=5.0)",
    may_come_late=True,
)
STARTING = DeliveryResult(Outcome.OUTAGE, "HTTP 503 Service Unavailable")
MAINTAINED = DeliveryResult(Outcome.OUTAGE, "HTTP 503 Order sedang dipelihara", retry_after_s=1800.0)
UNKNOWN_USER = DeliveryResult(Outcome.UNKNOWN, "unknown user: HTTP 404 Pengguna tidak ditemukan")
REJECTED = DeliveryResult(Outcome.REJECTED, "HTTP 400 Pesanan sudah diarsipkan")


@dataclass(frozen=True, slots=True)
class Mishap:
    """What a neighbour answers for a while.

    Attributes:
        target_id: of this order or guest only; None for all.
    """

    neighbour: Neighbour
    begins_us: int
    ends_us: int
    answer: DeliveryResult
    target_id: int | None = None

    def befalls(self, neighbour: Neighbour, target_id: int, now_us: int) -> bool:
        """Say whether it happens to this call."""
        is_concerned = self.neighbour is neighbour and self.target_id in (None, target_id)
        return is_concerned and self.begins_us <= now_us < self.ends_us


def answer_of(mishaps: Iterable[Mishap], neighbour: Neighbour, target_id: int, now_us: int) -> DeliveryResult:
    """Return what a neighbour answers at this time: that it was told, unless something befalls the call."""
    answers = (each.answer for each in mishaps if each.befalls(neighbour, target_id, now_us))
    return next(answers, TOLD)
