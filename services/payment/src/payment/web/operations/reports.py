"""/reports: a day's closing, and its hours."""

from collections.abc import Iterator
from typing import Any

from payment.ledger.answers import DailyReportAnswer, HourlyReportAnswer
from payment.ledger.reports import DailyReport, Sums, Takings, daily_report, hourly_report
from payment.ledger.spreadsheet import as_csv
from payment.web.endpoints import Request
from payment.web.replies import CSV, CSV_UTF_8, JSON, Reply, best_type

_daily_report_answer = DailyReportAnswer()
_hourly_report_answer = HourlyReportAnswer()


async def get_daily_report(request: Request) -> Reply:
    """GET /reports/daily: a day's closing, for people to keep as CSV."""
    report = await request.ledger.report(daily_report, request.parameters["date"])
    vary = (b"vary", b"Accept")
    if best_type(request.header("accept"), JSON, CSV) == CSV:
        name = f'attachment; filename="daily-{report.day.date}.csv"'
        headers = [vary, (b"content-disposition", name.encode())]
        return Reply(200, as_csv(_rows_of(report)).encode(), headers, CSV_UTF_8)
    return Reply.of_text(200, _daily_report_answer.text(report), [vary])


async def get_hourly_report(request: Request) -> Reply:
    """GET /reports/hourly: a day hour by hour."""
    report = await request.ledger.report(hourly_report, request.parameters["date"])
    return Reply.of_text(200, _hourly_report_answer.text(report))


def _rows_of(report: DailyReport) -> Iterator[tuple[Any, ...]]:
    yield "date", "method", "payments", "gross", "refunds", "net"
    lines: list[tuple[str, Takings | Sums]] = [(takings.method, takings) for takings in report.methods]
    for name, each in [*lines, ("total", report)]:
        yield report.day.date, name, each.payments, each.gross, each.refunds, each.net
    # no takings: see the API
    yield report.day.date, "late", report.late.payments, report.late.amount, "", ""
