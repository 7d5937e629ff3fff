"""`payment prune`."""

import json
from pathlib import Path

import click

from payment.cli.opening import now_us, opened
from payment.cli.progress import STEPS, progress, steps
from payment.core.settings import Settings
from payment.ledger import pruning
from payment.ledger.archive import Archive
from payment.ledger.payment_pruning import PaymentPruning

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
TABLES = ("idempotency_keys", "notifications", "leases", "payments", "refunds", "events")


@click.command()
@click.option(
    "--export",
    "folder",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    help="Folder arsip pembayaran yang dihapus / folder for an archive of the payments that are deleted.",
)
@click.option("--dry-run", is_flag=True, help="Hitung saja / only count.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def prune(settings: Settings, *, folder: Path | None, dry_run: bool, as_json: bool) -> None:
    """Hapus yang sudah lama / delete what is old: keys, settled notifications, payments, events.

    IDEMPOTENCY_KEPT_H, NOTIFICATIONS_KEPT_D, PAYMENTS_KEPT_D and EVENTS_KEPT_D say what is old; payments and
    events are kept for good unless theirs is set. Payments are written to a file in --export before they are
    deleted. Bills stay, and what waits or is dead.
    """
    time_us = now_us()
    old_payments = None
    if settings.payments_kept_d is not None:
        if folder is None and not dry_run:
            raise click.UsageError("PAYMENTS_KEPT_D: --export FOLDER")
        old_payments = PaymentPruning(
            before_us=time_us - settings.payments_kept_d * DAY_US,
            archive=None if dry_run or folder is None else Archive(folder, time_us),
            notifications_before_us=time_us - settings.notifications_kept_d * DAY_US,
        )
    elif folder is not None:
        raise click.UsageError("--export: PAYMENTS_KEPT_D tidak diisi / is not set.")
    batches = pruning.prune(
        opened(settings),
        keys_before_us=time_us - settings.idempotency_kept_h * HOUR_US,
        notifications_before_us=time_us - settings.notifications_kept_d * DAY_US,
        events_before_us=None
        if settings.events_kept_d is None
        else time_us - settings.events_kept_d * DAY_US,
        old_payments=old_payments,
        now_us=time_us,
        dry_run=dry_run,
    )
    archive = old_payments.archive if old_payments else None
    counts = dict.fromkeys(TABLES, 0)
    try:
        with progress("prune") as bar:
            for batch in batches:
                counts[batch.table] += batch.rows
                before = TABLES.index(batch.table)
                bar.update(max(0, steps(before + batch.done, len(counts)) - bar.pos))
            bar.update(STEPS - bar.pos)  # not every table had something
    except OSError as error:
        raise click.ClickException(
            f"Arsip tidak dapat ditulis / the archive cannot be written: {error}"
        ) from None
    finally:
        if archive:
            archive.close()
    exported = str(archive.path) if archive and archive.rows else None
    if as_json:
        click.echo(json.dumps({**counts, "dry_run": dry_run, "exported": exported}))
        return
    said = ", ".join(f"{table} {rows}" for table, rows in counts.items())
    click.echo(f"{'Akan dihapus / to be deleted' if dry_run else 'Dihapus / deleted'}: {said}")
    if exported:
        click.echo(f"Arsip / archive: {exported}")
