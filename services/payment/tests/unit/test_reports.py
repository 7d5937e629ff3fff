"""The sums of a day's closing."""

from datetime import date

from payment.core.states import Method
from payment.ledger.reports import DailyReport, Day, LateSums, Takings


def test_what_was_given_back_may_be_more_than_what_was_paid() -> None:
    cash = Takings(Method.CASH, payments=1, gross=100, refunds=250)
    card = Takings(Method.CARD, payments=2, gross=70, refunds=0)
    report = DailyReport(Day(date(2026, 1, 31), "Asia/Jakarta", 0, 1), (cash, card), LateSums(0, 0, 0))
    assert (cash.net, card.net) == (-150, 70)
    assert (report.payments, report.gross, report.refunds, report.net) == (3, 170, 250, -80)
