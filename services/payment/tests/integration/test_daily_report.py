"""The day's closing: what counts on which day, by the API and in the terminal, on both databases."""

import csv
import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import make_url

from pages import where_it_is_noon
from past_days import METHODS, NOTHING, Past, us
from payment.core.states import Status
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger.reports import SUMS, bounds
from processes import Service

Start = Callable[..., Service]


@pytest.fixture
def past(database_url: str, end: ExitStack) -> Past:
    past = Past(database_url)
    end.callback(past.close)
    return past


def closing(service: Service, day: str) -> dict[str, Any]:
    answer = service.http.get("/reports/daily", params={"date": day})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def by_method(report: dict[str, Any]) -> dict[str, Any]:
    return {
        each["method"]: [each["payments"], each["gross"], each["refunds"], each["net"]]
        for each in report["methods"]
        if any(each[name] for name in NOTHING)
    }


def test_a_day_with_nothing_shows_every_method(start: Start) -> None:
    service = start("serve", "--no-worker")
    assert (
        closing(service, "2026-01-31")
        == {
            "date": "2026-01-31",
            "time_zone": "Asia/Jakarta",
            "begins_at": "2026-01-30T17:00:00.000000Z",
            "ends_at": "2026-01-31T17:00:00.000000Z",
            "methods": [{"method": method} | NOTHING for method in METHODS],
            "late": {"payments": 0, "amount": 0, "open": 0},
        }
        | NOTHING
    )


def test_without_a_date_it_is_today_in_the_restaurants_zone(start: Start) -> None:
    ahead = 12 if datetime.now(UTC).hour in {9, 10} else 14  # neither day ends in the next minutes
    zones = (f"Etc/GMT-{ahead}", f"Etc/GMT+{24 - ahead}")  # a day apart: never the same one
    reports: list[dict[str, Any]] = []
    for zone in zones:
        service = start("serve", "--no-worker", TIMEZONE=zone)
        service.pay(len(reports) + 1, amount=35_000)
        reports.append(service.http.get("/reports/daily").json())
    assert [report["time_zone"] for report in reports] == list(zones)
    assert reports[0]["date"] > reports[1]["date"]
    assert [report["gross"] for report in reports] == [35_000, 70_000]


def test_what_is_booked_through_the_api_is_in_todays_report(start: Start) -> None:
    """Paid at once, settled, still pending, failed, given back in part and in whole."""
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())

    def pay(order_id: int, amount: int, method: str, status: str = "paid") -> str:
        body = {"order_id": order_id, "user_id": 1, "amount": amount, "method": method, "status": status}
        return service.http.post("/payments", json=body).raise_for_status().headers["location"]

    pay(1, 50_000, "cash")
    settled = pay(2, 20_000, "qris", "pending")
    service.http.patch(settled, json={"status": "paid"}).raise_for_status()
    pay(3, 1_000, "qris", "pending")
    failed = pay(4, 2_000, "transfer", "pending")
    service.http.patch(failed, json={"status": "failed"}).raise_for_status()
    whole, part = pay(5, 30_000, "card"), pay(6, 40_000, "card")
    service.http.post(f"{whole}/refunds", json={"reason": "salah pesan"}).raise_for_status()
    for expected in (0, 5_000):
        body = {"reason": "dingin", "amount": 5_000, "expected_refunded": expected}
        service.http.post(f"{part}/refunds", json=body).raise_for_status()
    report = service.http.get("/reports/daily").json()
    assert by_method(report) == {
        "cash": [1, 50_000, 0, 50_000],
        "card": [2, 70_000, 40_000, 30_000],
        "qris": [1, 20_000, 0, 20_000],
    }
    assert [report[name] for name in NOTHING] == [4, 140_000, 40_000, 100_000]


def test_each_counts_on_its_own_day(start: Start, past: Past) -> None:
    """A day's last and first microsecond; settled and refunded on a later day than it was made."""
    past.pay("2026-01-30T16:59:59.999999", 1)
    past.pay("2026-01-30T17:00:00", 10)  # midnight in Jakarta
    past.pay("2026-01-31T16:59:59.999999", 100)
    past.pay("2026-01-31T17:00:00", 1_000)
    past.pay("2026-01-30T12:00:00", 20, "qris", settled_us=us("2026-01-31T10:00:00"))
    past.pay("2026-01-31T12:00:00", 30, "qris", settled_us=us("2026-02-01T10:00:00"))
    past.pay("2026-01-31T12:00:00", 40, "qris", status=Status.FAILED, settled_us=us("2026-01-31T13:00:00"))
    past.pay("2026-01-31T12:00:00", 50, "qris", status=Status.PENDING)
    given_back = past.pay("2026-01-30T12:00:00", 200, "card", status=Status.REFUNDED)
    past.refund(given_back, "2026-01-30T13:00:00", 60)
    past.refund(given_back, "2026-01-31T13:00:00", 140)
    service = start("serve", "--no-worker")
    assert by_method(closing(service, "2026-01-31")) == {
        "cash": [2, 110, 0, 110],
        "card": [0, 0, 140, -140],
        "qris": [1, 20, 0, 20],
    }
    assert by_method(closing(service, "2026-01-30")) == {
        "cash": [1, 1, 0, 1],
        "card": [1, 200, 60, 140],
    }
    assert by_method(closing(service, "2026-02-01")) == {
        "cash": [1, 1_000, 0, 1_000],
        "qris": [1, 30, 0, 30],
    }


def test_a_closed_day_stays_as_it_was(start: Start, past: Past) -> None:
    """Refunds and payments of today, and settling today what was made on that day, do not change it."""
    past.pay("2026-01-31T10:00:00", 20_000, "card")
    pending = past.pay("2026-01-31T11:00:00", 5_000, "qris", status=Status.PENDING)
    service = start("serve", "--no-worker", PENDING_EXPIRES_S="31000000")
    before = service.http.get("/reports/daily", params={"date": "2026-01-31"}).content
    refunded = service.http.post(f"/payments/{pending - 1}/refunds", json={"reason": "salah pesan"})
    assert refunded.status_code == 201
    assert service.pay(1).status_code == 201
    service.http.patch(f"/payments/{pending}", json={"status": "failed"}).raise_for_status()
    assert service.http.get("/reports/daily", params={"date": "2026-01-31"}).content == before
    refunded_at = datetime.fromisoformat(refunded.json()["created_at"])
    day = refunded_at.astimezone(ZoneInfo("Asia/Jakarta")).date()
    assert closing(service, day.isoformat())["refunds"] == 20_000


def test_days_whose_clocks_change_have_23_and_25_hours(start: Start, past: Past) -> None:
    for day, begins, ends in (
        ("2026-03-29", "2026-03-28T23:00:00", "2026-03-29T22:00:00"),
        ("2026-10-25", "2026-10-24T22:00:00", "2026-10-25T23:00:00"),
    ):
        hour, end = us(begins), us(ends)
        while hour < end:  # one at the beginning of each hour
            at = datetime.fromtimestamp(hour / 1_000_000, UTC).replace(tzinfo=None).isoformat()
            past.pay(at, 1)
            hour += 3_600_000_000
        past.pay(ends, 1_000)  # the next day's
        service = start("serve", "--no-worker", TIMEZONE="Europe/Berlin")
        assert closing(service, day)["gross"] == {"2026-03-29": 23, "2026-10-25": 25}[day]
        service.stop()


def test_a_thousand_of_the_largest_payments_are_added_up(start: Start, past: Past) -> None:
    """More than a database integer holds."""
    past.many("2026-01-31T10:00:00", WHOLE_NUMBER_MAX, 1_100)
    service = start("serve", "--no-worker")
    assert closing(service, "2026-01-31")["gross"] == 1_100 * WHOLE_NUMBER_MAX


def test_a_days_report_reads_that_day_only(past: Past, database_url: str) -> None:
    """Every table is looked into by an index, whatever it holds."""
    past.many("2026-01-31T10:00:00", 1, 10)
    query = SUMS.params(bounds(0, 1, 1)).compile(
        dialect=make_url(database_url).get_dialect()(), compile_kwargs={"literal_binds": True}
    )
    with past.database.write() as connection:
        if database_url.startswith("postgresql"):
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # ten rows are no table
            explain = "EXPLAIN"
        else:
            explain = "EXPLAIN QUERY PLAN"
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explain} {query}"))
    for name in ("ix_payments_created", "ix_payments_settled", "ix_refunds_created", "ix_late_money_came"):
        assert name in plan, plan
    assert "Seq Scan" not in plan
    assert "SCAN payments" not in plan


@pytest.mark.parametrize(
    "query",
    [
        "date=",
        "date=kemarin",
        "date=2026-02-30",
        "date=20260131",
        "date=2026-W05-6",
        "date=2026-1-31",
        "date=2026-01-31T00:00:00Z",
        "date=٢٠٢٦-٠١-٣١",
        "date=%00",
        "date=-2026-01-31",
        "date=0000-01-01",
    ],
)
def test_what_is_no_date_is_refused_by_its_name(shared: Service, query: str) -> None:
    refused = shared.http.get(f"/reports/daily?{query}")
    assert refused.status_code == 400
    assert refused.json() == {"error": "date harus tanggal, misalnya 2026-01-31"}
    english = shared.http.get(f"/reports/daily?{query}", headers={"Accept-Language": "en"})
    assert english.json() == {"error": "date must be a date, for example 2026-01-31"}


def test_a_date_is_given_once(shared: Service) -> None:
    refused = shared.http.get("/reports/daily?date=2026-01-31&date=2026-01-31")
    assert (refused.status_code, refused.json()["error"].split()[0]) == (400, "date")


@pytest.mark.parametrize("day", ["0001-01-01", "1582-10-10", "1969-12-31", "9999-12-31"])
def test_any_day_has_a_report(shared: Service, day: str) -> None:
    assert closing(shared, day)["payments"] == 0


def test_as_csv_it_is_a_line_for_each_method_and_their_sums(start: Start, past: Past) -> None:
    past.refund(past.pay("2026-01-31T10:00:00", 1_250_000, "card"), "2026-01-31T11:00:00", 250_000)
    past.refund(past.pay("2026-01-30T10:00:00", 35_000), "2026-01-31T11:00:00", 35_000)
    service = start("serve", "--no-worker")
    answer = service.http.get("/reports/daily?date=2026-01-31", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="daily-2026-01-31.csv"'
    assert answer.text.split("\r\n") == [
        "date,method,payments,gross,refunds,net",
        "2026-01-31,cash,0,0,35000,-35000",
        "2026-01-31,card,1,1250000,250000,1000000",
        "2026-01-31,qris,0,0,0,0",
        "2026-01-31,transfer,0,0,0,0",
        "2026-01-31,ewallet,0,0,0,0",
        "2026-01-31,total,1,1250000,285000,965000",
        "2026-01-31,late,0,0,,",
        "",
    ]
    as_json = service.http.get("/reports/daily?date=2026-01-31", headers={"Accept": "*/*, text/csv;q=0.5"})
    assert as_json.json()["net"] == 965_000
    assert "content-disposition" not in as_json.headers
    assert (answer.headers["vary"], as_json.headers["vary"]) == ("Accept", "Accept")
    file = service.http.get("/reports/daily", headers={"Accept": "text/csv"})
    today = file.text.splitlines()[1].partition(",")[0]
    assert file.headers["content-disposition"] == f'attachment; filename="daily-{today}.csv"'
    wrong = service.http.get("/reports/daily?date=x", headers={"Accept": "text/csv"})
    assert (wrong.status_code, wrong.headers["content-type"]) == (400, "application/json")


def test_in_the_terminal_it_says_the_same(start: Start, past: Past) -> None:
    payment_id = past.pay("2026-01-31T10:00:00", 1_250_000, "card")
    past.pay("2026-01-31T10:00:00", 35_000)
    past.refund(payment_id, "2026-01-31T11:00:00", 250_000)
    service = start("serve", "--no-worker")
    table = service.cli("report", "--date", "2026-01-31")
    assert (table.returncode, table.stderr) == (0, "")
    assert table.stdout.splitlines() == [
        "2026-01-31 Asia/Jakarta",
        "method    payments      gross  refunds        net",
        "cash             1     35.000        0     35.000",
        "card             1  1.250.000  250.000  1.000.000",
        "qris             0          0        0          0",
        "transfer         0          0        0          0",
        "ewallet          0          0        0          0",
        "total            2  1.285.000  250.000  1.035.000",
    ]
    as_json = service.cli("report", "--date", "2026-01-31", "--json").stdout
    assert json.loads(as_json) == closing(service, "2026-01-31")
    lines = list(csv.DictReader(service.cli("report", "--date", "2026-01-31", "--csv").stdout.splitlines()))
    assert [line["method"] for line in lines] == METHODS
    assert lines[1] == {
        "date": "2026-01-31",
        "method": "card",
        "payments": "1",
        "gross": "1250000",
        "refunds": "250000",
        "net": "1000000",
    }
    noon = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    today = noon.http.get("/reports/daily").json()
    assert noon.cli("report").stdout.startswith(f"{today['date']} {today['time_zone']}\n")


@pytest.mark.parametrize("arguments", [["--date", "kemarin"], ["--date", "2026-02-30"], ["--csv", "--json"]])
def test_in_the_terminal_nonsense_is_refused(shared: Service, arguments: list[str]) -> None:
    refused = shared.cli("report", *arguments)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert arguments[-1] in refused.stderr
