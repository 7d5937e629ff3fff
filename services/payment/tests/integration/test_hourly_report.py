"""A day hour by hour: what counts in which hour, and that the hours add up to the day, on both databases."""

import random
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url, text

from pages import where_it_is_noon
from past_days import METHODS, NOTHING, Past, us
from payment.core.business_day import BusinessDays
from payment.core.states import Method, Status
from payment.core.units import WHOLE_NUMBER_MAX, rfc_3339
from payment.ledger.reports import daily_report, hourly_report
from payment.storage.opening import open_current
from processes import Service

Start = Callable[..., Service]
ZONES = st.sampled_from(sorted(available_timezones()))


@pytest.fixture
def past(database_url: str, end: ExitStack) -> Past:
    past = Past(database_url)
    end.callback(past.close)
    return past


def hourly(service: Service, day: str) -> dict[str, Any]:
    answer = service.http.get("/reports/hourly", params={"date": day})
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


def busy(report: dict[str, Any]) -> dict[str, list[int]]:
    """Return the hours in which something happened, by their beginning in UTC."""
    return {
        hour["starts_at"]: [hour[name] for name in NOTHING]
        for hour in report["hours"]
        if any(hour[name] for name in NOTHING)
    }


def added_up(report: dict[str, Any]) -> dict[str, Any]:
    """Return the closing that the hours come to."""
    hours = report["hours"]
    methods = [
        {"method": method} | {name: sum(hour["methods"][at][name] for hour in hours) for name in NOTHING}
        for at, method in enumerate(METHODS)
    ]
    sums = {name: sum(hour[name] for hour in hours) for name in NOTHING}
    head = {name: report[name] for name in ("date", "time_zone", "begins_at", "ends_at")}
    return head | {"methods": methods} | sums | {"late": {"payments": 0, "amount": 0, "open": 0}}


def test_a_day_with_nothing_has_all_its_hours_and_methods(start: Start) -> None:
    report = hourly(start("serve", "--no-worker"), "2026-01-31")
    assert (report["date"], report["time_zone"]) == ("2026-01-31", "Asia/Jakarta")
    first = us("2026-01-30T17:00:00")
    assert report["hours"] == [
        {
            "starts_at": rfc_3339(first + hour * 3_600_000_000),
            "hour": f"{hour:02}:00",
            "methods": [{"method": method} | NOTHING for method in METHODS],
        }
        | NOTHING
        for hour in range(24)
    ]


def test_each_counts_in_its_own_hour(start: Start, past: Past) -> None:
    """An hour's first and last microsecond; settled and refunded later than it was made."""
    past.pay("2026-01-31T01:59:59.999999", 1)
    past.pay("2026-01-31T02:00:00", 10)
    past.pay("2026-01-31T02:59:59.999999", 100, "qris")
    past.pay("2026-01-31T02:30:00", 20, "qris", settled_us=us("2026-01-31T05:10:00"))
    past.pay("2026-01-31T02:30:00", 40, "qris", status=Status.FAILED, settled_us=us("2026-01-31T05:10:00"))
    given_back = past.pay("2026-01-31T02:30:00", 200, "card", status=Status.REFUNDED)
    past.refund(given_back, "2026-01-31T06:00:00", 60)
    past.refund(given_back, "2026-02-01T13:00:00", 140)
    report = hourly(start("serve", "--no-worker"), "2026-01-31")
    assert busy(report) == {
        "2026-01-31T01:00:00.000000Z": [1, 1, 0, 1],
        "2026-01-31T02:00:00.000000Z": [3, 310, 0, 310],
        "2026-01-31T05:00:00.000000Z": [1, 20, 0, 20],
        "2026-01-31T06:00:00.000000Z": [0, 0, 60, -60],
    }
    nine = next(hour for hour in report["hours"] if hour["hour"] == "09:00")
    assert [takings["gross"] for takings in nine["methods"]] == [10, 200, 100, 0, 0]


def test_what_is_booked_through_the_api_is_in_todays_hours(start: Start) -> None:
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    assert service.pay(1, amount=35_000).status_code == 201
    report = service.http.get("/reports/hourly").json()
    assert added_up(report) == service.http.get("/reports/daily").json()
    assert sum(hour["gross"] for hour in report["hours"]) == 35_000


@pytest.mark.parametrize(
    ("zone", "day", "count"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Asia/Kathmandu", "2026-03-29", 24),
        ("Australia/Lord_Howe", "2026-04-05", 25),
    ],
)
def test_where_clocks_change_and_zones_have_half_hours_each_hour_has_its_own(
    start: Start, past: Past, zone: str, day: str, count: int
) -> None:
    service = start("serve", "--no-worker", TIMEZONE=zone)
    hours = hourly(service, day)["hours"]
    assert len(hours) == count
    for number, hour in enumerate(hours):
        past.pay(hour["starts_at"].removesuffix("Z"), number + 1)
    report = hourly(service, day)
    assert [hour["gross"] for hour in report["hours"]] == list(range(1, count + 1))
    assert added_up(report) == service.http.get("/reports/daily", params={"date": day}).json()


def test_a_thousand_of_the_largest_payments_are_added_up(start: Start, past: Past) -> None:
    """More than a database integer holds."""
    past.many("2026-01-31T10:00:00", WHOLE_NUMBER_MAX, 1_100)
    report = hourly(start("serve", "--no-worker"), "2026-01-31")
    assert [hour["gross"] for hour in report["hours"] if hour["gross"]] == [1_100 * WHOLE_NUMBER_MAX]


@pytest.fixture
def lively(past: Past) -> Past:
    """Days with payments of all kinds at any time, around a change of Lord Howe's clocks."""
    dice = random.Random(5)

    def moment(after_h: float) -> str:
        at = datetime(2026, 4, 4, tzinfo=UTC) + timedelta(hours=after_h + dice.random() * 60)
        return at.replace(tzinfo=None).isoformat(timespec="microseconds")

    for _ in range(150):
        kind = dice.choice([*Status, Status.PAID, Status.PAID])
        settled = {"settled_us": us(moment(24))} if dice.random() < 0.3 else {}
        method = dice.choice(list(Method))
        payment_id = past.pay(moment(0), dice.randint(10, 90_000), method, status=kind, **settled)
        if kind is Status.REFUNDED:
            past.refund(payment_id, moment(24), dice.randint(1, 9))
    return past


@given(
    zone=ZONES,
    starts=st.sampled_from([time(), time(2, 30), time(4), time(23, 59)]),
    day=st.dates(date(2026, 4, 2), date(2026, 4, 9)),
)
def test_the_hours_of_any_day_in_any_zone_add_up_to_the_day(
    lively: Past, zone: str, starts: time, day: date
) -> None:
    key = BusinessDays(ZoneInfo(zone), starts)
    with lively.database.read() as connection:
        closing, report = daily_report(connection, day, key), hourly_report(connection, day, key)
    for at, takings in enumerate(closing.methods):
        of_hours = [hour.methods[at] for hour in report.hours]
        assert {each.method for each in of_hours} == {takings.method}
        for name in NOTHING:
            assert sum(getattr(each, name) for each in of_hours) == getattr(takings, name)
    assert sum(hour.net for hour in report.hours) == closing.net


def test_there_is_something_to_add_up(lively: Past) -> None:
    with lively.database.read() as connection:
        closing = daily_report(connection, date(2026, 4, 5), BusinessDays(ZoneInfo("Asia/Jakarta")))
    assert min(closing.payments, closing.refunds) > 0


def test_a_days_sums_are_one_statement_and_the_same_whatever_the_day(
    database_url: str, end: ExitStack
) -> None:
    database = open_current(make_url(database_url))
    end.callback(database.close)
    said: list[str] = []

    class Heard:
        """Stands where the report reads, and notes the statement."""

        def execute(self, query: Any, *values: Any) -> Any:
            said.append(str(query.compile(connection)))
            return connection.execute(query, *values)

    with database.read() as connection:
        connection.execute(text("SELECT 1"))
        for day in (date(2026, 10, 25), date(2026, 3, 29), date(1899, 12, 31)):
            hourly_report(Heard(), day, BusinessDays(ZoneInfo("Europe/Berlin")))  # type: ignore[arg-type]  # all that it uses
    assert said == said[:2] * 3, "the sums, and whether anything of the day was deleted"


@pytest.mark.parametrize("day", ["0001-01-01", "1582-10-10", "1969-12-31", "9999-12-31"])
def test_any_day_has_its_hours(shared: Service, day: str) -> None:
    assert len(hourly(shared, day)["hours"]) in {17, 24}


def test_what_is_no_date_is_refused_by_its_name(shared: Service) -> None:
    for query in ("date=", "date=kemarin", "date=2026-02-30"):
        refused = shared.http.get(f"/reports/hourly?{query}")
        assert (refused.status_code, refused.json()) == (
            400,
            {"error": "date harus tanggal, misalnya 2026-01-31"},
        )
