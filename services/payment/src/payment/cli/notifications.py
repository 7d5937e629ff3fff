"""`payment notifications list` and `payment notifications retry`."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from payment.cli.opening import cause, now_us, opened
from payment.cli.text_table import lines_of
from payment.core.neighbours import NEIGHBOURS
from payment.core.settings import Settings
from payment.core.states import FAILED, Outcome, State
from payment.core.units import WHOLE_NUMBER_MAX
from payment.ledger import outbox
from payment.ledger.answers import NotificationAnswer
from payment.ledger.resending import Resending, count_dead, send_all_again
from payment.storage.base import Database

COLUMNS = ("id", "service", "target_id", "payment_id", "state", "told", "attempts", "last_error")
CAUSES = click.Choice([outcome.value for outcome in FAILED])


@click.group()
def notifications() -> None:
    """Apa yang diberitahukan kepada Order dan User / what Order and User were told."""


@notifications.command("list")
@click.option("--service", type=click.Choice(list(NEIGHBOURS)))
@click.option("--state", type=click.Choice([state.value for state in State]))
@click.option("--cause", "failed_by", type=CAUSES)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON sebaris / JSON lines.")
@click.pass_obj
def list_notifications(
    settings: Settings,
    *,
    service: str | None,
    state: str | None,
    failed_by: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Daftar, yang terbaru dulu / list, newest first."""
    with opened(settings).read() as connection:
        rows = outbox.find_notifications(
            connection,
            service=service,
            state=State(state) if state else None,
            failed_by=Outcome(failed_by) if failed_by else None,
            limit=limit,
        )
    found: list[dict[str, Any]] = NotificationAnswer(many=True).dump(rows)
    if as_json:
        for row in found:
            click.echo(json.dumps(row))
    else:
        for line in _table_of(found):
            click.echo(line)


@notifications.command("retry")
@click.argument("notification_id", type=click.IntRange(1, WHOLE_NUMBER_MAX), required=False)
@click.option("--all-dead", is_flag=True, help="Semua yang mati / all that are dead.")
@click.option("--service", type=click.Choice(list(NEIGHBOURS)), help="… hanya ini / of these, only this.")
@click.option("--cause", "failed_by", type=CAUSES, help="… yang gagal karena ini / that failed by this.")
@click.option("--dry-run", is_flag=True, help="… hitung saja / only count them.")
@click.option("--yes", is_flag=True, help="… jangan bertanya / do not ask.")
@click.pass_obj
def retry_notifications(
    settings: Settings,
    *,
    notification_id: int | None,
    all_dead: bool,
    service: str | None,
    failed_by: str | None,
    dry_run: bool,
    yes: bool,
) -> None:
    """Kirim lagi / send again: one NOTIFICATION_ID, or --all-dead; on a terminal it asks before."""
    if (notification_id is None) != all_dead:
        raise click.UsageError("Beri NOTIFICATION_ID atau --all-dead / give one of the two.")
    if notification_id is not None and (service or failed_by or dry_run or yes):
        raise click.UsageError("--service, --cause, --dry-run, --yes: hanya dengan / only with --all-dead.")
    if notification_id is not None:
        with opened(settings).write() as connection:
            sent = len(outbox.send_again(connection, now_us(), cause(), [notification_id]))
    else:
        sent = _retry_dead(
            opened(settings), service, Outcome(failed_by) if failed_by else None, dry_run=dry_run, yes=yes
        )
        if dry_run:
            click.echo(f"Akan dikirim lagi / would be sent again: {sent}")
            return
    if not sent and not all_dead:
        click.echo(
            f"Notifikasi {notification_id} tidak ada atau sudah selesai / "
            f"notification {notification_id} does not exist or is settled",
            err=True,
        )
        sys.exit(1)
    click.echo(f"Dikirim lagi / to be sent again: {sent}")


def _retry_dead(
    database: Database, service: str | None, failed_by: Outcome | None, *, dry_run: bool, yes: bool
) -> int:
    """Send again what is dead, once whoever sits at a terminal agrees; return how many were, or would be."""
    asks = sys.stdin.isatty() and not yes
    if dry_run or asks:
        with database.read() as connection:
            dead = count_dead(connection, service=service, failed_by=failed_by)
        if dry_run or not dead:
            return dead
        click.confirm(f"Kirim lagi {dead} notifikasi / send {dead} notifications again?", abort=True)
    return sum(send_all_again(database, Resending(cause(), service=service, failed_by=failed_by)))


def _table_of(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    cells = [COLUMNS, *(tuple(str(row[name] or "") for name in COLUMNS) for row in rows)]
    return lines_of(cells, aligned="<" * len(COLUMNS))
