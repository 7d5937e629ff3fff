"""A payment's whole life over real HTTP: settled later, shared bills, refunds, expiry, who hears of it."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import make_url, update

from payment.storage.opening import open_database
from payment.storage.tables import payments
from payment_life import PENDING, bill_of, booked, new_order_id, status_of
from processes import Service, Stub, wait_for, wait_until_all_told, wait_until_told

Start = Callable[..., Service]


def puts(stub: Stub, target_id: int) -> list[str]:
    """Return the states that a neighbour was told, in order."""
    return [put["status"] for put in stub.received(target_id)]


# --- pending, settled, expired -----------------------------------------------------------------------


def test_a_payment_waits_then_is_paid_and_both_hear_each(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    wait_until_told(order, 7, "pending")
    wait_until_told(user, 9, "pending")
    assert bill_of(service, 7) == (20_000, 0, 20_000, 0, False)

    settled = service.settle(payment_id, "paid")
    assert settled.status_code == 200
    wait_until_told(order, 7, "paid")
    wait_until_told(user, 9, "paid")
    assert bill_of(service, 7) == (20_000, 20_000, 0, 0, True)

    payment = settled.json()
    assert service.http.get(f"/payments/{payment_id}").json() == payment
    assert list(payment) == [
        *("id", "order_id", "user_id", "amount", "status", "method"),
        *("amount_refunded", "created_at", "updated_at", "reference", "expires_at", "late"),
        "settled_at",
    ]
    assert payment["settled_at"] == payment["updated_at"]
    assert (payment["status"], payment["method"], payment["amount_refunded"]) == ("paid", "qris", 0)
    assert datetime.fromisoformat(payment["created_at"]) < datetime.fromisoformat(payment["updated_at"])
    wait_until_all_told(service)
    assert puts(order, 7) == puts(user, 9) == ["pending", "paid"]


def test_a_payment_that_failed_frees_its_order(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    assert service.settle(payment_id, "failed").json()["status"] == "failed"
    wait_until_told(order, 7, "failed")
    wait_until_told(user, 9, "failed")
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    booked(service.pay(7, user_id=9, amount=15_000))
    wait_until_told(order, 7, "paid")
    wait_until_told(user, 9, "paid")
    assert bill_of(service, 7) == (15_000, 15_000, 0, 0, True)


def test_settled_at_is_when_it_was_paid_or_failed(start: Start) -> None:
    service = start("serve", "--no-worker")

    def settled_at(payment_id: int) -> str | None:
        shown: str | None = service.http.get(f"/payments/{payment_id}").json()["settled_at"]
        return shown

    waited = booked(service.pay(7, fields=PENDING))
    assert settled_at(waited) is None
    failed = service.settle(waited, "failed").json()
    assert settled_at(waited) == failed["settled_at"] == failed["updated_at"]
    paid = service.settle(waited, "paid").json()
    assert settled_at(waited) == paid["settled_at"] > failed["settled_at"], "its money came after all"
    assert service.refund(waited, {}).status_code == 201
    assert settled_at(waited) == paid["settled_at"], "given back is another thing"


def test_settling_again_changes_nothing_and_tells_nobody(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    first = service.settle(payment_id, "paid")
    wait_until_all_told(service)
    again = service.settle(payment_id, "paid")
    assert (again.status_code, again.content) == (200, first.content)
    assert "idempotency-replayed" not in again.headers
    assert nobody_hears_after(service, order, user, 7, 9)


def nobody_hears_after(service: Service, order: Stub, user: Stub, order_id: int, user_id: int) -> bool:
    """Say whether these were told nothing by the time others have heard of something later."""
    before = puts(order, order_id), puts(user, user_id)
    booked(service.pay(555_555, user_id=555_555))
    wait_until_told(order, 555_555, "paid")
    wait_until_told(user, 555_555, "paid")
    wait_until_all_told(service)
    return (puts(order, order_id), puts(user, user_id)) == before


def test_a_change_of_an_older_payment_tells_order_but_not_user(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    older = booked(service.pay(1, user_id=9, fields=PENDING))
    refundable = booked(service.pay(2, user_id=9))
    booked(service.pay(3, user_id=9))
    wait_until_told(user, 9, "paid")
    wait_until_all_told(service)
    heard = puts(user, 9)
    assert service.settle(older, "failed").status_code == 200
    assert service.refund(refundable).status_code == 201
    wait_until_told(order, 1, "failed")
    wait_until_told(order, 2, "failed")
    wait_until_all_told(service)
    assert puts(user, 9) == heard
    assert user.states()[9] == "paid"
    assert Counter(row["service"] for row in service.notifications()) == {"order": 5, "user": 3}


def test_what_nobody_settles_expires_and_both_hear(start: Start, order: Stub, user: Stub) -> None:
    service = start(PENDING_EXPIRES_S="3600")
    payment_id = booked(service.pay(7, user_id=9, fields=PENDING))
    paid = booked(service.pay(8, user_id=10))
    wait_until_told(order, 7, "pending")
    let_an_hour_pass(service)
    wait_until_told(order, 7, "failed")
    wait_until_told(user, 9, "failed")
    assert status_of(service, payment_id) == ("failed", 0)
    assert status_of(service, paid) == ("paid", 0)
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    assert service.settle(payment_id, "paid").json()["status"] == "paid", "its money came after all"
    wait_until_told(order, 7, "paid")
    wait_until_told(user, 9, "paid")
    assert service.pay(7).status_code == 409


def let_an_hour_pass(service: Service) -> None:
    """Let all that waits expire as if it were an hour later."""
    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.write() as connection:
        connection.execute(update(payments).values(expires_us=payments.c.expires_us - 3_600_000_000))
    database.close()


def test_any_number_of_workers_let_each_payment_expire_once(start: Start, order: Stub) -> None:
    """More than one batch of them; one that is settled in time is spared, and none is told twice."""
    service = start("serve", "--no-worker", PENDING_EXPIRES_S="0.5")
    ids = [booked(service.pay(n, user_id=n, fields=PENDING)) for n in range(1, 151)]
    assert service.settle(ids[0], "paid").status_code == 200
    for _ in range(3):
        start("worker", PENDING_EXPIRES_S="0.5")
    wait_for(lambda: list(order.states().values()).count("failed") == 149, 20, "149 expired")
    nothing_wait = [row for row in service.notifications() if row["service"] == "order"]
    assert Counter(Counter(row["payment_id"] for row in nothing_wait).values()) == {2: 150}
    assert status_of(service, ids[0]) == ("paid", 0)
    wait_until_told(order, 1, "paid")


def test_what_is_settled_at_the_moment_of_expiry_is_as_the_answer_said(start: Start) -> None:
    """The worker and the guest's bank come at once: whoever is first, the money is booked."""
    services = [start(*how, PENDING_EXPIRES_S="0.5") for how in ((), ("serve", "--no-worker"))]
    ids = [booked(services[1].pay(n, user_id=n, fields=PENDING)) for n in range(1, 61)]
    wait_for(lambda: status_of(services[1], ids[0])[0] == "failed", 10, "the first has expired")
    with ThreadPoolExecutor(4) as pool:
        settled = list(pool.map(lambda n: services[n % 2].settle(n, "paid").status_code, ids))
    assert settled == [200] * len(ids)
    for order, payment_id in enumerate(ids, start=1):
        assert status_of(services[0], payment_id)[0] == "paid"
        assert bill_of(services[0], order)[1:3] == (20_000, 0)


# --- one bill, several payments ----------------------------------------------------------------------


def test_guests_share_a_bill(start: Start, order: Stub, user: Stub) -> None:
    service = start()
    share = {"order_total": 100_000}
    first = booked(service.pay(7, user_id=1, amount=60_000, fields=share))
    wait_until_told(order, 7, "pending")
    wait_until_told(user, 1, "paid")
    assert bill_of(service, 7) == (100_000, 60_000, 0, 40_000, False)
    second = booked(service.pay(7, user_id=2, amount=25_000, fields=share | PENDING))
    assert bill_of(service, 7) == (100_000, 60_000, 25_000, 15_000, False)
    third = booked(service.pay(7, user_id=3, amount=15_000, fields=share))
    wait_until_told(user, 3, "paid")
    assert bill_of(service, 7) == (100_000, 75_000, 25_000, 0, False)
    assert service.settle(second, "paid").status_code == 200
    wait_until_told(order, 7, "paid")
    assert bill_of(service, 7) == (100_000, 100_000, 0, 0, True)
    wait_until_all_told(service)
    assert set(puts(order, 7)[:-1]) == {"pending"}, "paid is told once all of it is paid, not before"

    assert service.refund(first).status_code == 201
    wait_until_told(order, 7, "pending")
    wait_until_told(user, 1, "failed")
    assert bill_of(service, 7) == (100_000, 40_000, 0, 60_000, False)
    for payment_id in (second, third):
        assert service.refund(payment_id).status_code == 201
    wait_until_told(order, 7, "failed")
    assert bill_of(service, 7) == (100_000, 0, 0, 100_000, False)
    booked(service.pay(7, user_id=4, amount=50_000))
    wait_until_told(order, 7, "paid")
    assert bill_of(service, 7) == (50_000, 50_000, 0, 0, True)


def test_a_payment_of_the_whole_may_state_the_total(shared: Service, order_id: int) -> None:
    booked(shared.pay(order_id, fields={"order_total": 20_000}))
    assert bill_of(shared, order_id) == (20_000, 20_000, 0, 0, True)


# --- refunds -----------------------------------------------------------------------------------------


def test_a_part_given_back_tells_nobody_and_the_rest_tells_both(
    start: Start, order: Stub, user: Stub
) -> None:
    service = start()
    payment_id = booked(service.pay(7, user_id=9))
    wait_until_told(order, 7, "paid")
    wait_until_told(user, 9, "paid")
    wait_until_all_told(service)
    part = service.refund(payment_id, {"amount": 5_000, "reason": "Es teh tidak datang"})
    assert part.status_code == 201
    assert nobody_hears_after(service, order, user, 7, 9)
    assert status_of(service, payment_id) == ("paid", 5_000)
    assert bill_of(service, 7) == (20_000, 15_000, 0, 0, True)
    assert service.pay(7).json() == {"error": "Pesanan 7 sudah lunas"}

    rest = service.refund(payment_id)
    assert (rest.status_code, rest.json()["amount"]) == (201, 15_000)
    wait_until_told(order, 7, "failed")
    wait_until_told(user, 9, "failed")
    assert status_of(service, payment_id) == ("refunded", 20_000)
    assert bill_of(service, 7) == (20_000, 0, 0, 20_000, False)
    assert service.pay(7, user_id=9, amount=1).status_code == 201
    wait_until_told(order, 7, "paid")
    wait_until_told(user, 9, "paid")


def test_a_refund_is_where_its_location_says_and_listed(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id))
    path = f"/payments/{payment_id}/refunds"
    assert shared.http.get(path).json() == {"refunds": []}
    first = shared.refund(payment_id, {"amount": 5_000, "reason": "Es téh ❄ tidak datang"})
    second = shared.refund(payment_id, {"amount": 1})
    refund = first.json()
    assert list(refund) == ["id", "payment_id", "amount", "reason", "created_at", "reference"]
    assert (refund["payment_id"], refund["amount"], refund["reason"]) == (
        payment_id,
        5_000,
        "Es téh ❄ tidak datang",
    )
    assert second.json()["reason"] is None
    assert first.headers["location"] == f"{path}/{refund['id']}"
    assert shared.http.get(first.headers["location"]).content == first.content
    assert shared.http.get(path).json() == {"refunds": [refund, second.json()]}


def test_a_refund_needs_no_body(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id))
    whole = shared.http.post(f"/payments/{payment_id}/refunds")
    assert (whole.status_code, whole.json()["amount"]) == (201, 20_000)


def test_a_refund_of_another_payment_is_not_found(shared: Service, order_id: int) -> None:
    payment_id, other = booked(shared.pay(order_id)), booked(shared.pay(new_order_id()))
    refund_id = shared.refund(payment_id).json()["id"]
    missing = shared.http.get(f"/payments/{other}/refunds/{refund_id}")
    assert (missing.status_code, missing.json()) == (404, {"error": "Pengembalian tidak ditemukan"})
