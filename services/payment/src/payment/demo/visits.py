"""What happens at a table and at the till: the records of the sample days. Pure."""

from dataclasses import dataclass

from payment.core.states import Method, Status


@dataclass(frozen=True, slots=True)
class GivenBack:
    """A refund, and the client that makes it; of all that is left if the amount is None."""

    at_us: int
    amount: int | None
    reason: str
    client: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a payment that waited, and which client said so."""

    at_us: int
    status: Status
    client: str


@dataclass(frozen=True, slots=True)
class Share:
    """One payment towards a bill, whole rupiah.

    Attributes:
        client: which client books it.
        waits: True if it is pending when it is booked.
        settled: None if it is paid at once, or if nobody ever settles it.
    """

    at_us: int
    amount: int
    method: Method
    client: str
    waits: bool = False
    settled: Settled | None = None
    given_back: GivenBack | None = None

    @property
    def paid_at_us(self) -> int | None:
        """Return when it was paid, None if it never was."""
        if not self.waits:
            return self.at_us
        if self.settled is None or self.settled.status is not Status.PAID:
            return None
        return self.settled.at_us


@dataclass(frozen=True, slots=True)
class Visit:
    """A guest's order, with the payments towards it in order of time.

    Attributes:
        order_total: what a split bill comes to; None if one payment is all of it.
        order_id: 0 until the visits of the day are in order.
    """

    user_id: int
    shares: tuple[Share, ...]
    order_total: int | None = None
    order_id: int = 0

    @property
    def begins_us(self) -> int:
        """Return when its first payment is booked."""
        return self.shares[0].at_us
