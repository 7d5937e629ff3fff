"""`payment reconcile`."""

import json
import sys
from collections import Counter
from datetime import date

import click

from payment.cli.day import Day
from payment.cli.opening import cause, opened
from payment.cli.progress import progress, steps
from payment.core.neighbours import NEIGHBOURS
from payment.core.settings import Settings
from payment.core.states import DISAGREEMENTS, Verdict
from payment.ledger.listing import Position
from payment.ledger.reconciliations import find_span

_COMPARISON = "{:<7}  {:>16}  {:<10}  {:<8}  {:<8}  {}"
_COUNTS = (
    "Sama / agree: {agrees}; menunggu / waiting: {waiting}; berbeda / differ: {differs}; "
    "tidak dikenal / unknown: {unknown}; tidak terjawab / unanswered: {unanswered}; "
    "diberitahukan lagi / told again: {told_again}"
)


@click.command("reconcile")
@click.option(
    "--since", type=Day(), help="Pembayaran sejak hari ini / payments made on this day or later; else all."
)
@click.option("--service", type=click.Choice(list(NEIGHBOURS)))
@click.option("--repair", is_flag=True, help="Beritahukan lagi yang berbeda / tell again what differs.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON sebaris / JSON lines.")
@click.pass_obj
def reconcile(
    settings: Settings, *, since: date | None, service: str | None, repair: bool, as_json: bool
) -> None:
    """Bandingkan dengan Order dan User / compare with what Order and User say now.

    Exit code 0: all agree, or wait to be told. 1: something differs, is unknown there, or could not be asked.
    """
    from payment.telling.downstream import client_of  # noqa: PLC0415  # loads `requests`
    from payment.telling.reconcile import reconcile as compare  # noqa: PLC0415  # same
    from payment.telling.reconcile import tell_again  # noqa: PLC0415  # same

    asked = [client_of(each, settings) for each in NEIGHBOURS.values() if service in (None, each.name)]
    since_us = settings.business_days.begins_us(since) if since else 0
    database = opened(settings)
    with database.read() as connection:
        first_us, last_us = find_span(connection, since_us) or (0, 0)
    verdicts: Counter[Verdict] = Counter()
    has_header = as_json
    with progress("reconcile") as bar:
        for chunk in compare(
            database,
            asked,
            after=Position(since_us, 0),
            until_us=last_us,
            concurrency=settings.lane_concurrency,
        ):
            if repair and any(finding.verdict is Verdict.DIFFERS for finding in chunk.findings):
                with database.write() as connection:
                    tell_again(connection, chunk.findings, cause())
            verdicts.update(finding.verdict for finding in chunk.findings)
            rows = [
                row
                for row in (finding.facts() for finding in chunk.findings)
                if row["verdict"] != Verdict.AGREES
            ]
            if rows and sys.stderr.isatty():
                click.echo("\r\033[K", nl=False, err=True)  # the bar goes on below
            if rows and not has_header:
                click.echo(_COMPARISON.format(*rows[0]))
                has_header = True
            for row in rows:
                cells = (cell or "" for cell in row.values())
                click.echo(json.dumps(row) if as_json else _COMPARISON.format(*cells).rstrip())
            bar.update(steps(chunk.last.created_us - first_us, last_us - first_us) - bar.pos)
    told_again = verdicts[Verdict.DIFFERS] if repair else 0
    counts = {verdict.value: verdicts[verdict] for verdict in Verdict} | {"told_again": told_again}
    click.echo(json.dumps(counts) if as_json else _COUNTS.format(**counts))
    if any(verdicts[verdict] for verdict in DISAGREEMENTS):
        sys.exit(1)
