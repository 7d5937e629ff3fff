"""What a batch locks and reads, as its requests say."""

from dataclasses import replace
from types import SimpleNamespace

from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.batch import BatchPlan
from payment.ledger.idempotency import Key
from payment.ledger.requests import PaymentRequest, RefundRequest, Settling

KEY = Key("", "create_payment", "k1", "fingerprint")
NEW = PaymentRequest(order_id=7, user_id=1, amount=20_000, method=Method.CASH)


def test_a_new_payment_needs_its_order_and_a_fresh_id() -> None:
    plan = BatchPlan.of([NEW])
    assert (set(plan.order_ids), plan.payments_new) == ({7}, 1)
    assert not plan.payment_ids
    assert not plan.keys
    assert plan.refunds_new == 0
    assert plan.locks() == {7}


def test_a_settled_or_refunded_payment_is_read_and_its_order_is_not_known_yet() -> None:
    plan = BatchPlan.of([RefundRequest(9), Settling(3, Status.PAID), RefundRequest(3)])
    assert plan.payment_ids == [3, 9]
    assert (plan.payments_new, plan.refunds_new) == (0, 2)
    assert plan.locks() == set()
    rows = [SimpleNamespace(order_id=1, reference=None), SimpleNamespace(order_id=2, reference="R-1")]
    found = plan.with_payments(rows)
    assert (set(found.order_ids), set(found.references)) == ({1, 2}, {"R-1"})
    assert len(found.locks()) == 3


def test_a_reference_is_locked_and_looked_up_wherever_it_is_named() -> None:
    named = BatchPlan.of(
        [replace(NEW, reference="R-1"), Settling(3, Status.PAID, "R-2"), RefundRequest(3, reference="R-1")]
    )
    assert (set(named.references), set(named.refund_references)) == ({"R-1", "R-2"}, {"R-1"})
    assert len(named.locks()) == 4, "a refund may be called like a payment: nobody waits for the other"


def test_what_several_requests_name_is_read_once() -> None:
    keyed = replace(NEW, key=KEY)
    plan = BatchPlan.of([keyed, keyed, replace(NEW, order_id=8)])
    assert (set(plan.order_ids), set(plan.keys)) == ({7, 8}, {KEY.identity})
    assert plan.payments_new == 3, "which of them will be booked is not known yet"


def test_the_lock_of_a_key_is_never_that_of_an_order() -> None:
    plan = BatchPlan.of(
        [replace(NEW, order_id=WHOLE_NUMBER_MAX, key=replace(KEY, key=str(n))) for n in range(99)]
    )
    keys = plan.locks() - {WHOLE_NUMBER_MAX}
    assert len(keys) == 99
    assert all(WHOLE_NUMBER_MAX < number < 2**63 for number in keys), "PostgreSQL locks numbers of 64 bits"
