"""The command line: `payment serve`, `payment report` and all the others."""

import csv
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy.exc import SQLAlchemyError

from payment.core.logs import configure_logs, get_logger
from payment.core.neighbours import NEIGHBOURS
from payment.core.settings import Settings, SettingsError, read_settings
from payment.core.states import State
from payment.core.units import WHOLE_NUMBER_MAX, read_date
from payment.ledger import outbox, pruning
from payment.ledger.answers import DailyReportAnswer, NotificationAnswer
from payment.ledger.reports import daily_report, day_begins_us, day_of
from payment.storage.base import Database
from payment.storage.migrate import OldSchemaError
from payment.storage.opening import open_current, open_database
from payment.storage.ownership import ForeignDatabase

if TYPE_CHECKING:
    from payment.telling.reconcile import Finding

EXIT_BAD_SETTING = 2
HOUR_US = 3_600_000_000
PROGRESS = 1000
TAKINGS = ("method", "payments", "gross", "refunds", "net")


class Day(click.ParamType[date]):
    """A day as YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Return the day."""
        try:
            return value if isinstance(value, date) else read_date(value)
        except ValueError:
            self.fail(f"{value}: YYYY-MM-DD", param, ctx)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, the process's own unless given; the entry point of the `payment` program."""
    try:
        cli(arguments)
    except ForeignDatabase as error:
        click.echo(f"Basis data milik program lain / another program's database: {error}", err=True)
        sys.exit(1)
    except SQLAlchemyError as error:
        said = str(error).partition("\n")[0]
        click.echo(f"Basis data tidak dapat dipakai / the database cannot be used: {said}", err=True)
        sys.exit(1)
    except OldSchemaError as error:
        click.echo(f"Skema basis data lama / old schema ({error}): payment migrate", err=True)
        sys.exit(1)


@click.group()
@click.pass_context
def cli(context: click.Context) -> None:
    """Layanan pembayaran restoran / the restaurant's payment service."""
    try:
        settings = read_settings()
    except SettingsError as error:
        for name, said in error.problems.items():
            click.echo(f"Pengaturan salah / bad setting: {name}: {' '.join(said)}", err=True)
        sys.exit(EXIT_BAD_SETTING)
    configure_logs(settings.log_level, settings.log_format)
    context.obj = settings


@cli.command()
@click.option("--no-worker", is_flag=True, help="API saja, tanpa pekerja / the API alone.")
@click.pass_obj
def serve(settings: Settings, *, no_worker: bool) -> None:
    """Jalankan API dengan pekerjanya / serve the API, its worker inside."""
    with warnings.catch_warnings():
        # Connexion loads Starlette's test client, which has an opinion on its HTTP library
        warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
        from payment.serve import serve as serve_api  # noqa: PLC0415  # takes 0.4 s to load
        from payment.web.server import CannotListen, PortInUse  # noqa: PLC0415  # the same

    try:
        serve_api(settings, with_worker=not no_worker)
    except PortInUse as error:
        click.echo(f"Alamat sudah dipakai / address in use: {error}", err=True)
        sys.exit(1)
    except CannotListen as error:
        click.echo(f"Alamat tidak dapat dipakai / cannot listen: {error}", err=True)
        sys.exit(1)


@cli.command()
@click.pass_obj
def worker(settings: Settings) -> None:
    """Beri tahu Order dan User / tell Order and User."""
    from payment.telling.worker import Worker  # noqa: PLC0415  # loads `requests`

    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in all threads to come too, so one waits below
    with_database = _opened(settings)
    telling = Worker(with_database, settings)
    telling.start()
    get_logger().info("worker started")
    signal.sigwait(ends)
    telling.stop()
    get_logger().info("stopped")


@cli.command()
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Perbarui skema basis data / bring the database schema up to date."""
    database = _closed_at_the_end(open_database(settings.database_url))
    click.echo("Skema diperbarui / migrated" if database.migrate() else "Sudah baru / up to date")


@cli.group()
def notifications() -> None:
    """Apa yang diberitahukan kepada Order dan User / what Order and User were told."""


@notifications.command("list")
@click.option("--service", type=click.Choice(list(NEIGHBOURS)))
@click.option("--state", type=click.Choice([state.value for state in State]))
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON sebaris / JSON lines.")
@click.pass_obj
def list_notifications(
    settings: Settings, *, service: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """Daftar, yang terbaru dulu / list, newest first."""
    with _opened(settings).read() as connection:
        rows = outbox.find_notifications(
            connection,
            service=service,
            state=State(state) if state else None,
            limit=limit,
        )
    found: list[dict[str, Any]] = NotificationAnswer(many=True).dump(rows)
    if as_json:
        for row in found:
            click.echo(json.dumps(row))
    else:
        _print_table(found)


@notifications.command("retry")
@click.argument("notification_id", type=click.IntRange(1, WHOLE_NUMBER_MAX), required=False)
@click.option("--all-dead", is_flag=True, help="Semua yang mati / all that are dead.")
@click.pass_obj
def retry_notifications(settings: Settings, *, notification_id: int | None, all_dead: bool) -> None:
    """Kirim lagi / send again: one NOTIFICATION_ID, or --all-dead."""
    if (notification_id is None) != all_dead:
        raise click.UsageError("Beri NOTIFICATION_ID atau --all-dead / give one of the two.")
    with _opened(settings).write() as connection:
        sent = outbox.send_again(connection, _now_us(), notification_id=notification_id)
    if not sent and not all_dead:
        click.echo(
            f"Notifikasi {notification_id} tidak ada atau sudah selesai / "
            f"notification {notification_id} does not exist or is settled",
            err=True,
        )
        sys.exit(1)
    click.echo(f"Dikirim lagi / to be sent again: {len(sent)}")


@cli.command()
@click.option("--date", "day", type=Day(), help="Bawaan: hari ini / default: today.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV, satu baris per metode / a line per method.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def report(settings: Settings, *, day: date | None, as_csv: bool, as_json: bool) -> None:
    """Penutupan harian / a day's closing: payments and refunds by method."""
    if as_csv and as_json:
        raise click.UsageError("Pilih --csv atau --json / choose one of the two.")
    zone = settings.time_zone
    with _opened(settings).read() as connection:
        closing = daily_report(connection, day or day_of(_now_us(), zone), zone)
    if as_json:
        click.echo(DailyReportAnswer().text(closing))
    elif as_csv:
        lines = csv.writer(sys.stdout, lineterminator="\n")
        lines.writerow(("date", *TAKINGS))
        lines.writerows(
            (closing.date, *(getattr(takings, name) for name in TAKINGS)) for takings in closing.methods
        )
    else:
        click.echo(f"{closing.date} {closing.time_zone}")
        lines_of = (*closing.methods, closing)
        rows = [
            [getattr(item, "method", "total"), *(f"{getattr(item, name):,}" for name in TAKINGS[1:])]
            for item in lines_of
        ]
        widths = [max(map(len, cells)) for cells in zip(TAKINGS, *rows, strict=True)]
        for row in (TAKINGS, *rows):
            amounts = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            click.echo("  ".join([row[0].ljust(widths[0]), *amounts]).replace(",", "."))


@cli.command("reconcile")
@click.option(
    "--since", type=Day(), help="Pembayaran sejak hari ini / payments made on this day or later; else all."
)
@click.option("--service", type=click.Choice(list(NEIGHBOURS)))
@click.option("--repair", is_flag=True, help="Beritahukan lagi yang berbeda / tell again what differs.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON sebaris / JSON lines.")
@click.pass_obj
def reconcile_command(
    settings: Settings, *, since: date | None, service: str | None, repair: bool, as_json: bool
) -> None:
    """Bandingkan dengan Order dan User / compare with what Order and User say now.

    Exit code 0: all agree, or wait to be told. 1: something differs, is unknown there, or could not be asked.
    """
    from payment.telling.downstream import client_of  # noqa: PLC0415  # loads `requests`
    from payment.telling.reconcile import (  # noqa: PLC0415  # same
        DISAGREEMENTS,
        Verdict,
        find_span,
        reconcile,
    )

    asked = [client_of(each, settings) for each in NEIGHBOURS.values() if service in (None, each.name)]
    since_us = day_begins_us(since, settings.time_zone) if since else 0
    database = _opened(settings)
    with database.read() as connection:
        first_us, last_us = find_span(connection, since_us) or (0, 0)
    verdicts: Counter[Verdict] = Counter()
    has_header = as_json
    with _progress("reconcile") as bar:
        for chunk in reconcile(
            database, asked, since_us=since_us, concurrency=settings.lane_concurrency, repair=repair
        ):
            verdicts.update(finding.verdict for finding in chunk.findings)
            rows = [row for row in map(_comparison, chunk.findings) if row["verdict"] != Verdict.AGREES]
            if rows and sys.stderr.isatty():
                click.echo("\r\033[K", nl=False, err=True)  # the bar goes on below
            if rows and not has_header:
                click.echo(_COMPARISON.format(*rows[0]))
                has_header = True
            for row in rows:
                cells = (cell or "" for cell in row.values())
                click.echo(json.dumps(row) if as_json else _COMPARISON.format(*cells).rstrip())
            bar.update(_steps(chunk.until_us - first_us, last_us - first_us) - bar.pos)
    told_again = verdicts[Verdict.DIFFERS] if repair else 0
    counts = {verdict.value: verdicts[verdict] for verdict in Verdict} | {"told_again": told_again}
    click.echo(json.dumps(counts) if as_json else _COUNTS.format(**counts))
    if any(verdicts[verdict] for verdict in DISAGREEMENTS):
        sys.exit(1)


_COMPARISON = "{:<7}  {:>16}  {:<10}  {:<8}  {:<8}  {}"
_COUNTS = (
    "Sama / agree: {agrees}; menunggu / waiting: {waiting}; berbeda / differ: {differs}; "
    "tidak dikenal / unknown: {unknown}; tidak terjawab / unanswered: {unanswered}; "
    "diberitahukan lagi / told again: {told_again}"
)


def _comparison(finding: "Finding") -> dict[str, Any]:
    return {
        "service": finding.target.neighbour.name,
        "target_id": finding.target.id,
        "verdict": finding.verdict.value,
        "expected": finding.expected.value,
        "found": finding.found,
        "error": finding.error,
    }


@cli.command()
@click.option("--dry-run", is_flag=True, help="Hitung saja / only count.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def prune(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Hapus yang sudah lama / delete what is old: keys, settled notifications.

    Payments, bills and refunds are never deleted, nor what waits or is dead. IDEMPOTENCY_KEPT_H and
    NOTIFICATIONS_KEPT_D say what is old.
    """
    now_us = _now_us()
    batches = pruning.prune(
        _opened(settings),
        keys_before_us=now_us - settings.idempotency_kept_h * HOUR_US,
        notifications_before_us=now_us - settings.notifications_kept_d * 24 * HOUR_US,
        now_us=now_us,
        dry_run=dry_run,
    )
    counts = dict.fromkeys(("idempotency_keys", "notifications", "leases"), 0)
    with _progress("prune") as bar:
        for batch in batches:
            counts[batch.table] += batch.rows
            before = list(counts).index(batch.table)
            bar.update(_steps(before + batch.done, len(counts)) - bar.pos)
    if as_json:
        click.echo(json.dumps({**counts, "dry_run": dry_run}))
    else:
        said = ", ".join(f"{table} {rows}" for table, rows in counts.items())
        click.echo(f"{'Akan dihapus / to be deleted' if dry_run else 'Dihapus / deleted'}: {said}")


def _opened(settings: Settings) -> Database:
    return _closed_at_the_end(open_current(settings.database_url, settings.database_listen_url))


def _closed_at_the_end(database: Database) -> Database:
    click.get_current_context().call_on_close(database.close)
    return database


def _progress(label: str) -> Any:
    """Return a bar of PROGRESS steps on a terminal, none in a pipe."""
    return click.progressbar(length=PROGRESS, label=label, file=sys.stderr, hidden=not sys.stderr.isatty())


def _steps(done: float, whole: float) -> int:
    return round(PROGRESS * min(1.0, done / whole)) if whole > 0 else PROGRESS


def _now_us() -> int:
    return time.time_ns() // 1000


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    columns = ("id", "service", "target_id", "payment_id", "state", "told", "attempts")
    lines = [columns, *(tuple(str(row[name] or "") for name in columns) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(columns))]
    errors = ["last_error", *(row["last_error"] or "" for row in rows)]
    for line, error in zip(lines, errors, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join([*cells, error]).rstrip())


if __name__ == "__main__":
    main()
