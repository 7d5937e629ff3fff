"""`payment prune`."""

import json

import click

from payment.cli.opening import now_us, opened
from payment.cli.progress import STEPS, progress, steps
from payment.core.settings import Settings
from payment.ledger import pruning

HOUR_US = 3_600_000_000


@click.command()
@click.option("--dry-run", is_flag=True, help="Hitung saja / only count.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def prune(settings: Settings, *, dry_run: bool, as_json: bool) -> None:
    """Hapus yang sudah lama / delete what is old: keys, settled notifications, events.

    Payments, bills and refunds are never deleted, nor what waits or is dead. IDEMPOTENCY_KEPT_H,
    NOTIFICATIONS_KEPT_D and EVENTS_KEPT_D say what is old; events are kept for good unless that is set.
    """
    time_us = now_us()
    batches = pruning.prune(
        opened(settings),
        keys_before_us=time_us - settings.idempotency_kept_h * HOUR_US,
        notifications_before_us=time_us - settings.notifications_kept_d * 24 * HOUR_US,
        events_before_us=_events_before_us(settings, time_us),
        now_us=time_us,
        dry_run=dry_run,
    )
    counts = dict.fromkeys(("idempotency_keys", "notifications", "leases", "events"), 0)
    with progress("prune") as bar:
        for batch in batches:
            counts[batch.table] += batch.rows
            before = list(counts).index(batch.table)
            bar.update(steps(before + batch.done, len(counts)) - bar.pos)
        bar.update(STEPS - bar.pos)  # not every table had something
    if as_json:
        click.echo(json.dumps({**counts, "dry_run": dry_run}))
    else:
        said = ", ".join(f"{table} {rows}" for table, rows in counts.items())
        click.echo(f"{'Akan dihapus / to be deleted' if dry_run else 'Dihapus / deleted'}: {said}")


def _events_before_us(settings: Settings, time_us: int) -> int | None:
    """Return the time before which events are old, None if they are kept for good."""
    return None if settings.events_kept_d is None else time_us - settings.events_kept_d * 24 * HOUR_US
