"""`expires_at`: what a payment says itself, shown, and what workers go by."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import make_url, update

from payment.storage.opening import open_database
from payment.storage.tables import payments
from payment_life import PENDING, bill_of, booked, status_of
from processes import Service, Stub, wait_for, wait_until_told

REFUSED = "expires_at harus waktu yang akan datang, paling lama 30 hari lagi, dan pembayarannya pending"
NO_TIME = "expires_at harus waktu dengan zonanya, misalnya 2026-01-31T12:34:56Z"
HOUR_US = 3_600_000_000


def ahead(**more: float) -> str:
    """Return a time from now, in Jakarta's zone."""
    return (datetime.now(UTC) + timedelta(hours=7, **more)).strftime("%Y-%m-%dT%H:%M:%S.%f+07:00")


def test_it_is_shown_as_it_was_said_and_kept_when_it_is_settled(shared: Service, order_id: int) -> None:
    said = ahead(days=29)
    payment_id = booked(shared.pay(order_id, fields=PENDING | {"expires_at": said}))
    shown = shared.http.get(f"/payments/{payment_id}").json()["expires_at"]
    assert datetime.fromisoformat(shown) == datetime.fromisoformat(said)
    assert shown.endswith("Z")
    assert shared.settle(payment_id, "paid").json()["expires_at"] == shown


def test_one_that_does_not_say_shows_when_the_service_lets_it_fail(shared: Service, order_id: int) -> None:
    payment = shared.http.get(shared.pay(order_id, fields=PENDING).headers["location"]).json()
    made, expires = (datetime.fromisoformat(payment[name]) for name in ("created_at", "expires_at"))
    assert expires - made == timedelta(days=1)


WRONG: list[tuple[dict[str, Any], str]] = [
    (PENDING | {"expires_at": "2020-01-01T00:00:00Z"}, REFUSED),
    (PENDING | {"expires_at": "2096-01-01T00:00:00Z"}, REFUSED),
    ({"expires_at": "soon"}, NO_TIME),
    *(({**PENDING, "expires_at": wrong}, NO_TIME) for wrong in (None, 7, "2026-02-30T00:00:00Z", "")),
]


@pytest.mark.parametrize(("fields", "error"), WRONG)
def test_a_time_that_cannot_be_is_refused(
    shared: Service, order_id: int, fields: dict[str, Any], error: str
) -> None:
    for refused in (shared.pay(order_id, fields=fields), shared.pay(order_id, fields=fields)):
        assert (refused.status_code, refused.json()) == (400, {"error": error})
    at_once = shared.pay(order_id, fields={"expires_at": ahead(days=1)})
    assert (at_once.status_code, at_once.json()) == (400, {"error": REFUSED})
    assert shared.http.get(f"/bills/{order_id}").status_code == 404


def let_pass(database_url: str, hours: int, *, of: list[int], **more: None) -> None:
    """Have payments been made so many hours earlier, and expire so much earlier."""
    ago_us = hours * HOUR_US
    earlier = {name: payments.c[name] - ago_us for name in ("created_us", "updated_us", "expires_us")}
    database = open_database(make_url(database_url))
    with database.write() as connection:
        connection.execute(update(payments).where(payments.c.id.in_(of)).values(earlier | more))
    database.close()


def test_a_worker_lets_each_fail_when_it_says(
    start: Callable[..., Service], database_url: str, order: Stub, user: Stub
) -> None:
    """Those that a version before 0007 wrote say nothing, and wait as long as its settings said."""
    service = start(PENDING_EXPIRES_S="86400")
    soon = booked(service.pay(1, 1, fields=PENDING | {"expires_at": ahead(minutes=60)}))
    unsaid, long = (
        booked(service.pay(2, 2, fields=PENDING)),
        booked(service.pay(3, 3, fields=PENDING | {"expires_at": ahead(days=2)})),
    )
    old = booked(service.pay(4, 4, fields=PENDING))
    let_pass(database_url, hours=0, of=[old], expires_us=None)
    for hours, those in ((2, [soon]), (24, [unsaid, old])):
        assert {status_of(service, each)[0] for each in those} == {"pending"}
        let_pass(database_url, hours, of=[soon, unsaid, long, old])
        for payment_id in those:
            wait_for(lambda: status_of(service, payment_id)[0] == "failed")  # noqa: B023  # called at once
    for order_id in (1, 2, 4):
        wait_until_told(order, order_id, "failed")
        wait_until_told(user, order_id, "failed")
        assert bill_of(service, order_id) == (20_000, 0, 0, 20_000, False)
    assert status_of(service, long)[0] == "pending"
    events = service.http.get(f"/payments/{soon}/events").json()["events"]
    assert [(each["type"], each["actor"]) for each in events] == [
        ("payment.created", "anybody"),
        ("payment.failed", "expiry"),
    ]
