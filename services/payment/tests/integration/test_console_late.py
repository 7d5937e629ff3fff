"""References and late money in the console: found, shown, and said what became of it."""

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from console_visitor import Page, Visitor
from payment_life import PENDING, booked, new_order_id
from processes import Service

HOSTILE = "<b>'\"&{{7*7}}%(id)s</b>"


@pytest.fixture
def visitor(shared: Service) -> Iterator[Visitor]:
    with Visitor(shared.url) as visitor:
        yield visitor


@pytest.fixture
def failed(shared: Service) -> int:
    """A payment that has failed, and its reference is a hostile one."""
    order_id = new_order_id()
    payment_id = booked(shared.pay(order_id, fields=PENDING | {"reference": f"{HOSTILE}{order_id}"}))
    assert shared.settle(payment_id, "failed").status_code == 200
    return payment_id


def path_of(payment_id: int) -> str:
    return f"/console/payments/{payment_id}"


def say_that_it_came(visitor: Visitor, payment_id: int) -> Page:
    asked = visitor.send(visitor.open(path_of(payment_id)).form(do="settle", status="paid"))
    return visitor.send(asked.form(sure="yes"))


def pay_instead(service: Service, payment_id: int) -> None:
    order_id = service.http.get(f"/payments/{payment_id}").json()["order_id"]
    booked(service.pay(order_id, user_id=2))


def test_a_payment_is_found_by_its_reference_and_shows_it(
    shared: Service, visitor: Visitor, failed: int
) -> None:
    reference = shared.http.get(f"/payments/{failed}").json()["reference"]
    found = visitor.open("/console/payments", q=f" {reference} ")
    assert path_of(failed) in found.links
    page = visitor.open(path_of(failed))
    assert reference in page.text
    assert "<b>" not in visitor.http.get(path_of(failed)).text
    (listed,) = [link for link in page.links if "reference=" in link]
    assert path_of(failed) in visitor.open(listed).links
    assert path_of(failed) not in visitor.open("/console/payments", q=reference.upper()).links
    number = str(900_000_000_000 + failed)
    named = booked(shared.pay(new_order_id(), fields={"reference": number}))
    assert path_of(named) in visitor.open("/console/payments", q=number).links


def test_who_settles_and_gives_back_by_hand_may_say_what_the_bank_calls_it(
    shared: Service, visitor: Visitor
) -> None:
    payment_id = booked(shared.pay(new_order_id(), fields=PENDING))
    asked = visitor.send(visitor.open(path_of(payment_id)).form(do="settle", status="paid"))
    page = visitor.send(asked.form(sure="yes"), reference=f" TRF-{payment_id} ")
    assert shared.http.get(f"/payments/{payment_id}").json()["reference"] == f"TRF-{payment_id}"
    asked = visitor.send(page.form(do="refund"), amount="5.000")
    assert f"RF-{payment_id}" in visitor.send(asked.form(sure="yes"), reference=f"RF-{payment_id}").text
    (refund,) = shared.http.get(f"/payments/{payment_id}/refunds").json()["refunds"]
    assert (refund["amount"], refund["reference"]) == (5_000, f"RF-{payment_id}")


def test_a_payment_that_failed_is_paid_after_all(shared: Service, visitor: Visitor, failed: int) -> None:
    assert "Pembayaran sudah dibayar." in say_that_it_came(visitor, failed).text
    assert shared.http.get(f"/payments/{failed}").json()["status"] == "paid"


def test_late_money_is_noted_listed_and_somebody_says_what_became_of_it(
    shared: Service, visitor: Visitor, failed: int
) -> None:
    pay_instead(shared, failed)
    noted = say_that_it_came(visitor, failed)
    assert noted.status == 200
    assert "Uangnya datang terlambat" in noted.text
    assert "Uang datang terlambat" in noted.text  # its story
    assert "Uang terlambat" in visitor.open("/console").text
    assert path_of(failed) in visitor.open("/console/payments", late="true").links
    came_at = datetime.fromisoformat(shared.http.get(f"/payments/{failed}/late").json()["came_at"])
    day = came_at.astimezone(ZoneInfo("Asia/Jakarta")).date()
    closing = visitor.open("/console/closing", date=day.isoformat())
    assert "Uang terlambat, tidak termasuk jumlah di atas" in closing.text
    assert "/console/payments?late=true" in closing.links

    asked = visitor.send(noted.form(do="late"), resolution="returned", reference=HOSTILE)
    assert "dikembalikan ke tamu?" in asked.text
    assert shared.http.get(f"/payments/{failed}").json()["late"] is True
    done = visitor.send(asked.form(sure="yes"))
    assert "Sudah dicatat apa yang terjadi dengan uang itu." in done.text
    assert not [form for form in done.forms if form.fields.get("do") in {"late", "settle"}]
    late = shared.http.get(f"/payments/{failed}/late").json()
    assert (late["resolution"], late["reference"]) == ("returned", HOSTILE)
    assert path_of(failed) not in visitor.open("/console/payments", late="true").links


def test_what_somebody_else_has_said_of_it_is_said(shared: Service, visitor: Visitor, failed: int) -> None:
    pay_instead(shared, failed)
    old = say_that_it_came(visitor, failed).form(do="late")
    asked = visitor.send(old, resolution="kept")
    shared.http.post(f"/payments/{failed}/late", json={"resolution": "returned"})
    refused = visitor.send(asked.form(sure="yes"))
    assert refused.status == 409
    assert "sudah berstatus returned" in refused.text
    assert visitor.send(old, resolution="lost").status == 400


def test_a_reference_that_the_api_refuses_is_refused_in_its_words(
    shared: Service, visitor: Visitor, failed: int
) -> None:
    pay_instead(shared, failed)
    asked = visitor.send(
        say_that_it_came(visitor, failed).form(do="late"), resolution="kept", reference="a b"
    )
    refused = visitor.send(asked.form(sure="yes"))
    assert (refused.status, "reference harus" in refused.text) == (400, True)
    assert shared.http.get(f"/payments/{failed}").json()["late"] is True


def test_a_pending_payment_shows_when_it_expires(shared: Service, visitor: Visitor) -> None:
    payment_id = booked(shared.pay(new_order_id(), fields=PENDING))
    expires_at = shared.http.get(f"/payments/{payment_id}").json()["expires_at"]
    assert expires_at in visitor.http.get(path_of(payment_id)).text
