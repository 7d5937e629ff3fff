"""Whether the next batch is written unread, and which batches may be."""

from dataclasses import replace

import pytest

from payment.core.states import Method, Status
from payment.ledger.batch import is_hopeful
from payment.ledger.idempotency import Key
from payment.ledger.requests import BookingRequest, PaymentRequest, RefundRequest, Settling
from payment.ledger.unread import PAUSE_MAX, Unread

NOW_US = 1_700_000_000_000_000


def pay(order_id: int, key: str | None = None, order_total: int | None = None) -> PaymentRequest:
    named = Key("", "create_payment", key, "f") if key else None
    return PaymentRequest(order_id, 1, 100, Method.CASH, order_total=order_total, key=named)


def later(expires_us: int) -> PaymentRequest:
    return replace(pay(1), status=Status.PENDING, expires_us=expires_us)


@pytest.mark.parametrize(
    ("batch", "is_hopeful_"),
    [
        ([pay(1)], True),
        ([pay(1, "a"), pay(2, "b"), pay(3)], True),
        ([pay(1, order_total=100)], True),
        ([pay(1, order_total=300)], False),
        ([pay(1), pay(1)], False),
        ([pay(1, "a"), pay(2, "a")], False),
        ([replace(pay(1), reference="R-1"), replace(pay(2), reference="R-2")], True),
        ([replace(pay(1), reference="R-1"), replace(pay(2), reference="R-1")], False),
        ([later(NOW_US + 1), pay(2)], True),
        ([later(NOW_US), pay(2)], False),
        ([replace(later(NOW_US + 1), status=Status.PAID)], False),
        ([pay(1), Settling(1, Status.PAID)], False),
        ([RefundRequest(1)], False),
    ],
    ids=str,
)
def test_only_what_may_be_all_new_is_written_unread(batch: list[BookingRequest], is_hopeful_: bool) -> None:  # noqa: FBT001  # pytest gives it
    assert is_hopeful(batch, NOW_US) is is_hopeful_


def until_due(unread: Unread) -> int:
    """Return how many batches are read before the next is not."""
    return next(number for number in range(1_000) if unread.is_due())


def test_it_pauses_twice_as_long_each_time_that_it_is_wrong_again() -> None:
    unread = Unread()
    assert until_due(unread) == 0
    pauses = []
    for _ in range(8):
        unread.note(was_right=False)
        pauses.append(until_due(unread))
    assert pauses == [1, 2, 4, 8, 16, 32, PAUSE_MAX, PAUSE_MAX]
    unread.note(was_right=True)
    assert [until_due(unread) for _ in range(3)] == [0, 0, 0]
    unread.note(was_right=False)
    assert until_due(unread) == 1


@pytest.mark.parametrize(("mode", "is_due"), [("always", True), ("never", False)])
def test_a_setting_forces_it(mode: str, is_due: bool) -> None:  # noqa: FBT001  # pytest gives it
    unread = Unread(mode)  # type: ignore[arg-type]  # one of the words
    for was_right in (False, False, True):
        assert unread.is_due() is is_due
        unread.note(was_right=was_right)
