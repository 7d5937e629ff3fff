"""`payment demo`: sample days in an empty database, to be looked at."""

import json
import sys
from typing import Any

import click
from sqlalchemy import func, select

from payment.cli.opening import now_us, opened
from payment.cli.progress import STEPS, progress, steps
from payment.core.settings import Settings
from payment.core.states import State
from payment.core.units import read_time, rfc_3339
from payment.storage.base import Database
from payment.storage.tables import notifications, payments, refunds


class Moment(click.ParamType[int]):
    """A time as RFC 3339 that is not still to come."""

    name = "RFC 3339"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return microseconds since the epoch."""
        try:
            time_us = value if isinstance(value, int) else read_time(value)
        except ValueError:
            self.fail(f"{value}: 2026-03-14T20:30:00+07:00", param, ctx)
        if time_us > now_us():
            self.fail(f"{value}: di masa depan / in the future", param, ctx)
        return time_us


@click.command()
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Lain benih, lain isinya / what is drawn."
)
@click.option(
    "--now", type=Moment(), help="Akhir contohnya / where it ends. Bawaan: sekarang / default: now."
)
@click.option(
    "--days",
    type=click.IntRange(3, 90),
    default=14,
    show_default=True,
    help="Hari sebelum hari ini / days before today.",
)
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def demo(settings: Settings, *, seed: int, now: int | None, days: int, as_json: bool) -> None:
    """Isi basis data kosong dengan hari-hari contoh / fill an empty database with sample days.

    What a small restaurant books, settles and gives back, and what goes wrong meanwhile between it and Order
    and User; nobody is really told. The same seed and the same time make the same payments.
    """
    from payment.demo.history import history_until  # noqa: PLC0415  # loads the clients of the neighbours
    from payment.demo.replay import is_empty, replay  # noqa: PLC0415  # the same

    database = opened(settings)
    with database.read() as connection:
        if not is_empty(connection):
            click.echo("Basis data tidak kosong / the database is not empty", err=True)
            sys.exit(1)
    history = history_until(now or now_us(), settings.time_zone, seed, days)
    whole_us = history.now_us - history.begins_us
    with progress("demo") as bar:
        for done_us in replay(database, history, seed):
            bar.update(steps(done_us - history.begins_us, whole_us) - bar.pos)
        bar.update(STEPS - bar.pos)
    counts = _counts_of(database)
    if as_json:
        click.echo(
            json.dumps({**counts, "from": rfc_3339(history.begins_us), "to": rfc_3339(history.now_us)})
        )
    else:
        click.echo(f"Terisi / filled: {', '.join(f'{name} {number}' for name, number in counts.items())}")


def _counts_of(database: Database) -> dict[str, int]:
    state = notifications.c.state
    questions = {
        "payments": select(func.count()).select_from(payments),
        "refunds": select(func.count()).select_from(refunds),
        "waiting": select(func.count()).where(state == State.WAITING),
        "dead": select(func.count()).where(state == State.DEAD),
    }
    with database.read() as connection:
        return {name: connection.execute(query).scalar_one() for name, query in questions.items()}
