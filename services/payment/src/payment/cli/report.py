"""`payment report`: the daily closing."""

import csv
import sys
from collections.abc import Iterator
from datetime import date

import click

from payment.cli.day import Day
from payment.cli.opening import now_us, opened
from payment.cli.text_table import lines_of
from payment.core.business_day import MIDNIGHT, BusinessDays
from payment.core.errors import DayPruned
from payment.core.settings import Settings
from payment.ledger.answers import DailyReportAnswer
from payment.ledger.reports import DailyReport, daily_report

TAKINGS = ("method", "payments", "gross", "refunds", "net")


@click.command()
@click.option("--date", "day", type=Day(), help="Bawaan: hari ini / default: today.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, satu baris per metode / a line per method.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def report(settings: Settings, *, day: date | None, as_csv: bool, as_json: bool) -> None:
    """Penutupan harian / a day's closing: payments and refunds by method."""
    if as_csv and as_json:
        raise click.UsageError("Pilih --csv atau --json / choose one of the two.")
    days = settings.business_days
    try:
        with opened(settings).read() as connection:
            closing = daily_report(connection, day or days.day_of(now_us()), days)
    except DayPruned as gone:
        raise click.ClickException(str(gone)) from None
    if as_json:
        click.echo(DailyReportAnswer().text(closing))
    elif as_csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(("date", *TAKINGS))
        lines.writerows(
            (closing.day.date, *(getattr(takings, name) for name in TAKINGS)) for takings in closing.methods
        )
    else:
        click.echo(f"{closing.day.date} {_span(closing, days)}")
        for line in _table_of(closing):
            click.echo(line)
        if closing.late.payments:
            amount, number = (
                f"{each:,}".replace(",", ".") for each in (closing.late.amount, closing.late.open)
            )
            click.echo(f"terlambat / late: {closing.late.payments}, {amount}; belum jelas / open: {number}")


def _span(closing: DailyReport, days: BusinessDays) -> str:
    """Return where the day is, and from when to when it lasts if that is not from midnight to midnight."""
    if days.starts == MIDNIGHT:
        return closing.day.time_zone
    begins, ends = (days.local(time_us) for time_us in (closing.day.begins_us, closing.day.ends_us))
    return f"{closing.day.time_zone} {begins:%Y-%m-%d %H:%M} - {ends:%Y-%m-%d %H:%M}"


def _table_of(closing: DailyReport) -> Iterator[str]:
    rows = [
        (name, *(f"{getattr(takings, column):,}".replace(",", ".") for column in TAKINGS[1:]))
        for name, takings in (*((each.method, each) for each in closing.methods), ("total", closing))
    ]
    return lines_of([TAKINGS, *rows], aligned="<" + ">" * (len(TAKINGS) - 1))
