"""Late money over HTTP: kept with its refusal, found, shown, and ended by what somebody says."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pages import where_it_is_noon
from payment_life import PENDING, bill_of, booked, status_of
from processes import Service

ANSWER = ["payment_id", "amount", "came_at", "resolution", "reference", "resolved_at"]
PROBLEM = {"Accept": "application/problem+json", "Accept-Language": "en"}


def paid_late(service: Service, order_id: int, **fields: Any) -> int:
    """Let a payment fail, another take its bill, and its money come; return its id."""
    payment_id = booked(service.pay(order_id, fields=PENDING))
    service.settle(payment_id, "failed")
    booked(service.pay(order_id, user_id=2))
    late = service.http.patch(f"/payments/{payment_id}", json={"status": "paid"} | fields)
    assert late.status_code == 409
    return payment_id


def resolve(service: Service, payment_id: int, said: dict[str, Any], **headers: str) -> Any:
    path = f"/payments/{payment_id}/late"
    return service.http.post(path, json=said, headers={k.replace("_", "-"): v for k, v in headers.items()})


def open_ones(service: Service) -> set[int]:
    page = service.http.get("/payments", params={"late": "true", "limit": 200}).json()
    assert page["next_cursor"] is None
    assert all(each["late"] and each["status"] == "failed" for each in page["payments"])
    return {each["id"] for each in page["payments"]}


def test_money_that_comes_late_is_refused_kept_found_and_answered_the_same_again(
    shared: Service, order_id: int
) -> None:
    payment_id = paid_late(shared, order_id, reference=f"QR-{order_id}")
    path = f"/payments/{payment_id}"
    again = shared.settle(payment_id, "paid", Idempotency_Key=f"late-{payment_id}")
    assert (again.status_code, again.json()) == (
        409,
        {
            "error": f"Uang pembayaran {payment_id} datang terlambat untuk pesanan {order_id}; "
            f"catatannya di {path}/late"
        },
    )
    problem = shared.http.patch(path, json={"status": "paid"}, headers=PROBLEM).json()
    assert problem["type"] == "urn:payment:problem:late-payment"
    assert problem["payment_id"] == payment_id
    late = shared.http.get(f"{path}/late").json()
    assert list(late) == ANSWER
    assert (late["payment_id"], late["amount"]) == (payment_id, 20_000)
    assert late["resolution"] is late["reference"] is late["resolved_at"] is None
    payment = shared.http.get(path).json()
    assert (payment["status"], payment["late"], payment["reference"]) == ("failed", True, f"QR-{order_id}")
    assert payment_id in open_ones(shared)
    assert bill_of(shared, order_id) == (20_000, 20_000, 0, 0, True)
    story = shared.http.get(f"{path}/events").json()["events"]
    assert [each["type"] for each in story][1:] == ["payment.failed", "payment.late"]
    assert story[-1]["data"] == payment
    assert story[-1]["time"] == late["came_at"] == payment["updated_at"]


def test_a_payment_that_failed_is_paid_after_all_where_there_is_room(shared: Service, order_id: int) -> None:
    payment_id = booked(shared.pay(order_id, fields=PENDING))
    shared.settle(payment_id, "failed")
    after_all = shared.settle(payment_id, "paid", Idempotency_Key=f"after-all-{payment_id}")
    assert (after_all.status_code, after_all.json()["status"]) == (200, "paid")
    assert shared.settle(payment_id, "paid").content == after_all.content
    assert bill_of(shared, order_id) == (20_000, 20_000, 0, 0, True)
    assert shared.http.get(f"/payments/{payment_id}/late").json() == {
        "error": f"Tidak ada uang pembayaran {payment_id} yang datang terlambat"
    }


def test_somebody_says_what_became_of_it(shared: Service, order_id: int) -> None:
    payment_id = paid_late(shared, order_id)
    said = {"resolution": "returned", "reference": f"RF-{payment_id}"}
    answer = resolve(shared, payment_id, said, Idempotency_Key=f"resolve-{payment_id}")
    assert answer.status_code == 200
    assert answer.json() == shared.http.get(f"/payments/{payment_id}/late").json()
    assert {name: answer.json()[name] for name in said} == said
    assert answer.json()["resolved_at"] > answer.json()["came_at"]
    assert resolve(shared, payment_id, said).content == answer.content
    replayed = resolve(shared, payment_id, said, Idempotency_Key=f"resolve-{payment_id}")
    assert (replayed.content, replayed.headers["idempotency-replayed"]) == (answer.content, "true")
    other = resolve(shared, payment_id, {"resolution": "kept"})
    assert (other.status_code, other.json()) == (
        409,
        {"error": f"Uang terlambat dari pembayaran {payment_id} sudah berstatus returned"},
    )
    assert payment_id not in open_ones(shared)
    assert shared.settle(payment_id, "paid").status_code == 409
    story = shared.http.get(f"/payments/{payment_id}/events").json()["events"]
    assert (story[-1]["type"], story[-1]["subject"]) == ("late.resolved", f"payments/{payment_id}/late")
    assert story[-1]["data"] == answer.json()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, "resolution wajib diisi"),
        ({"resolution": "lost"}, "resolution harus salah satu dari: returned, booked, kept"),
        ({"resolution": "kept", "reference": ""}, "reference harus 1 sampai 64 karakter ASCII yang terlihat"),
    ],
)
def test_what_cannot_have_become_of_it_is_refused(
    shared: Service, order_id: int, said: dict[str, Any], error: str
) -> None:
    payment_id = paid_late(shared, order_id)
    refused = resolve(shared, payment_id, said)
    assert (refused.status_code, refused.json()) == (400, {"error": error})
    assert payment_id in open_ones(shared)


def test_of_an_unknown_payment_there_is_no_late_money(shared: Service) -> None:
    for answer in (
        shared.http.get("/payments/999999/late"),
        resolve(shared, 999999, {"resolution": "kept"}),
    ):
        assert (answer.status_code, answer.json()) == (404, {"error": "Pembayaran tidak ditemukan"})


def test_late_money_is_a_line_of_the_day_and_no_part_of_its_takings(start: Callable[..., Service]) -> None:
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    first, second = (paid_late(service, order_id) for order_id in (1, 2))
    resolve(service, first, {"resolution": "returned"})
    report = service.http.get("/reports/daily").json()
    assert report["late"] == {"payments": 2, "amount": 40_000, "open": 1}
    assert (report["payments"], report["gross"]) == (2, 40_000), "what was booked instead"
    file = service.http.get("/reports/daily", headers={"Accept": "text/csv"}).text.splitlines()
    assert file[-1] == f"{report['date']},late,2,40000,,"
    said = service.cli("report").stdout.splitlines()
    assert said[-1] == "terlambat / late: 2, 40.000; belum jelas / open: 1"
    assert service.refund(booked_instead(service, 2)).status_code == 201
    assert service.settle(second, "paid").status_code == 200
    after = service.http.get("/reports/daily").json()
    assert after["late"] == {"payments": 2, "amount": 40_000, "open": 0}
    assert (after["payments"], after["net"]) == (3, 40_000)
    assert service.http.get(f"/payments/{second}/late").json()["resolution"] == "booked"
    yesterday = service.http.get("/reports/daily", params={"date": "2026-01-31"}).json()
    assert yesterday["late"] == {"payments": 0, "amount": 0, "open": 0}


def booked_instead(service: Service, order_id: int) -> int:
    (payment,) = service.http.get("/payments", params={"order_id": order_id, "status": "paid"}).json()[
        "payments"
    ]
    payment_id: int = payment["id"]
    return payment_id


def test_lists_and_files_tell_late_from_all_others(shared: Service, order_id: int) -> None:
    payment_id = paid_late(shared, order_id)
    of_order = {"order_id": order_id}
    others = shared.http.get("/payments", params=of_order | {"late": "false"}).json()["payments"]
    assert [(each["late"], each["status"]) for each in others] == [(False, "paid")]
    (late,) = shared.http.get("/payments", params=of_order | {"late": "true"}).json()["payments"]
    assert late["id"] == payment_id
    file = shared.http.get("/payments", params=of_order, headers={"Accept": "text/csv"}).text.splitlines()
    assert [row["late"] for row in csv.DictReader(file)] == ["false", "true"]
    wrong = shared.http.get("/payments", params={"late": "1"})
    assert (wrong.status_code, wrong.json()) == (400, {"error": "late harus salah satu dari: true, false"})
    page = shared.http.get("/payments", params={"late": "true", "limit": 1}).json()
    if page["next_cursor"]:
        further = {"late": "true", "limit": 200, "cursor": page["next_cursor"]}
        rest = shared.http.get("/payments", params=further).json()["payments"]
        assert open_ones(shared) == {each["id"] for each in [*page["payments"], *rest]}
    assert status_of(shared, payment_id) == ("failed", 0)
    assert datetime.fromisoformat(late["updated_at"]) <= datetime.now(UTC)
