"""/reports: the daily closing."""

from payment.ledger.answers import DailyReportAnswer
from payment.web.endpoints import Request
from payment.web.replies import Reply

_daily_report_answer = DailyReportAnswer()


async def get_daily_report(request: Request) -> Reply:
    """GET /reports/daily: a day's closing."""
    report = await request.ledger.daily_report(request.parameters["date"])
    return Reply.of_text(200, _daily_report_answer.text(report))
