"""A day that begins at 04:00: every view counts the night's last guests to the evening, on both databases."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from console_visitor import Visitor
from past_days import Past
from payment.core.states import Status
from processes import Service

Start = Callable[..., Service]
EVENING, MORNING = "2026-01-31", "2026-02-01"


@pytest.fixture
def past(database_url: str, end: ExitStack) -> Past:
    past = Past(database_url)
    end.callback(past.close)
    return past


def test_who_pays_after_midnight_is_of_the_evening_before(start: Start, past: Past) -> None:
    """By the reports, the command, the list and its CSV, and the console."""
    past.pay("2026-01-30T20:59:59.999999", 1)  # 03:59 in Jakarta
    first = past.pay("2026-01-30T21:00:00", 10)
    last = past.pay("2026-01-31T20:59:59.999999", 100, "card")
    past.pay("2026-01-31T21:00:00", 1_000)
    settled = past.pay("2026-01-31T20:00:00", 7, "qris", status=Status.PENDING)
    service = start("serve", "--no-worker", BUSINESS_DAY_STARTS="04:00", PENDING_EXPIRES_S="31000000")

    report = service.http.get("/reports/daily", params={"date": EVENING}).json()
    assert (report["gross"], report["time_zone"]) == (110, "Asia/Jakarta")
    assert (report["begins_at"], report["ends_at"]) == (
        "2026-01-30T21:00:00.000000Z",
        "2026-01-31T21:00:00.000000Z",
    )
    hours = service.http.get("/reports/hourly", params={"date": EVENING}).json()["hours"]
    assert [hour["hour"] for hour in hours] == [f"{hour % 24:02}:00" for hour in range(4, 28)]
    assert (hours[0]["gross"], hours[-1]["gross"]) == (10, 100)
    as_csv = service.http.get(f"/reports/daily?date={EVENING}", headers={"Accept": "text/csv"}).text
    assert f"{EVENING},total,2,110,0,110" in as_csv

    table = service.cli("report", "--date", EVENING).stdout.splitlines()
    assert table[0] == f"{EVENING} Asia/Jakarta 2026-01-31 04:00 - 2026-02-01 04:00"
    assert table[-1].split() == ["total", "2", "110", "0", "110"]

    of_day = {"created_from": EVENING, "created_to": EVENING}
    listed = service.http.get("/payments", params=of_day).json()["payments"]
    assert [payment["id"] for payment in listed] == [last, settled, first]
    page = service.http.get("/payments", params=of_day | {"limit": 1})
    following = service.http.get(page.links["next"]["url"]).json()["payments"]
    assert [payment["id"] for payment in following] == [settled]
    file = service.http.get("/payments", params=of_day, headers={"Accept": "text/csv"}).text
    assert [line.split(",")[0] for line in file.split()[1:]] == [str(last), str(settled), str(first)]
    since = service.http.get("/payments", params={"created_from": MORNING}).json()["payments"]
    assert [payment["amount"] for payment in since] == [1_000]

    with Visitor(service.url) as visitor:
        found = visitor.open("/console/payments", **{"from": EVENING, "to": EVENING})
        shown = {int(each[0]) for link in found.links if (each := re.findall(r"/payments/(\d+)$", link))}
        assert shown == {first, last, settled}
        closing = visitor.open("/console/closing", date=EVENING).text
    assert "31 Jan 2026 04.00 – 1 Feb 2026 04.00, Asia/Jakarta" in closing
    assert "Rp\xa0110" in closing or "Rp 110" in closing

    before = service.http.get("/reports/daily", params={"date": EVENING}).content
    service.settle(settled, "paid").raise_for_status()
    service.http.post(f"/payments/{first}/refunds", json={"reason": "salah pesan"}).raise_for_status()
    assert service.http.get("/reports/daily", params={"date": EVENING}).content == before, "it is closed"
    today = service.http.get("/reports/daily").json()
    assert (today["gross"], today["refunds"]) == (7, 10), "they belong to the day on which they happened"


def test_before_the_day_begins_today_is_yesterday(start: Start) -> None:
    """Wherever it is noon, on a day that begins at 23:59."""
    now = datetime.now(UTC)
    ahead = 12 - now.hour
    service = start("serve", "--no-worker", TIMEZONE=f"Etc/GMT{-ahead:+}", BUSINESS_DAY_STARTS="23:59")
    yesterday = (now + timedelta(hours=ahead)).date() - timedelta(days=1)
    service.pay(1, amount=35_000)
    report = service.http.get("/reports/daily").json()
    assert (report["date"], report["gross"]) == (yesterday.isoformat(), 35_000)
    assert service.cli("report").stdout.startswith(yesterday.isoformat())
    of_day = {"created_from": yesterday.isoformat(), "created_to": yesterday.isoformat()}
    assert len(service.http.get("/payments", params=of_day).json()["payments"]) == 1
    with Visitor(service.url) as visitor:
        today = visitor.open("/console", lang="en").text
        assert f"{yesterday.day} {yesterday:%B} {yesterday.year}" in today
        assert "Rp 35.000" in today
        closing = visitor.open("/console/closing")
        assert "not over" in closing.text
        found = visitor.open("/console/payments", q="today")
        assert f"from={yesterday.isoformat()}" in found.url
