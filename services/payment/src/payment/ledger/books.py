"""The books: what a batch read, what it writes, and how that is shown. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, field

from payment.core.cause import Cause
from payment.core.record import record
from payment.core.states import EventType, Method
from payment.ledger.audience import Notification
from payment.ledger.idempotency import BookedAnswer, Key, UsedKey
from payment.ledger.records import Bill, LateMoney, Payment, Refund

Reference = tuple[Method, str]
"""What a provider calls a payment or a refund. Two providers may call theirs alike."""


@record(frozen=True, slots=True)
class Happening:
    """What an event will tell of: a payment, a refund or late money as it is after the change."""

    types: tuple[EventType, ...]
    resource: Payment | Refund | LateMoney
    cause: Cause


@dataclass(slots=True)
class Books:
    """What a batch read: all that its requests name, as far as it exists.

    Attributes:
        used_keys: the keys that were used before, by their identity.
        newest: ids of those payments that are their guest's newest.
        references: the payments that have these references, but for failed ones.
        refund_references: the refunds that have these references.
        late: the late money of the payments, by their ids.
    """

    used_keys: dict[tuple[str, str, str], UsedKey] = field(default_factory=dict)
    bills: dict[int, Bill] = field(default_factory=dict)
    payments: dict[int, Payment] = field(default_factory=dict)
    newest: set[int] = field(default_factory=set)
    references: dict[Reference, int] = field(default_factory=dict)
    refund_references: dict[Reference, Refund] = field(default_factory=dict)
    late: dict[int, LateMoney] = field(default_factory=dict)


@dataclass(slots=True)
class Writes:
    """The rows that a batch adds, in the order of its requests, and those that it changes."""

    bills: list[Bill] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    refunds: list[Refund] = field(default_factory=list)
    late: list[LateMoney] = field(default_factory=list)
    keys: list[tuple[Key, BookedAnswer]] = field(default_factory=list)
    notifications: list[Notification] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)
    changed_bills: list[Bill] = field(default_factory=list)
    changed_payments: list[Payment] = field(default_factory=list)
    changed_late: list[LateMoney] = field(default_factory=list)


@record(frozen=True, slots=True)
class Renderers:
    """How a payment, a refund and late money become the JSON text that callers get."""

    payment: Callable[[Payment], str]
    refund: Callable[[Refund], str]
    late: Callable[[LateMoney], str]
