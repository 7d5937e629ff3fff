"""`payment copy`."""

import json
import sys
from typing import Any

import click
from marshmallow import ValidationError
from sqlalchemy.engine import URL

from payment.cli.opening import closed_at_the_end
from payment.cli.progress import STEPS, progress, steps
from payment.core import setting_rules
from payment.core.settings import Settings
from payment.ledger.copying import Copying, CopyRefused
from payment.storage.moves import name_of
from payment.storage.opening import open_database


class DatabaseUrl(click.ParamType[URL]):
    """What DATABASE_URL may be."""

    name = "DATABASE_URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> URL:
        """Return it as a URL."""
        try:
            return value if isinstance(value, URL) else setting_rules.database_url(value)
        except ValidationError as error:
            self.fail(" ".join(map(str, error.messages)), param, ctx)


@click.command("copy")
@click.option("--to", "target", type=DatabaseUrl(), required=True, help="Tujuan, kosong / where to, empty.")
@click.option("--from", "source", type=DatabaseUrl(), help="Sumber / where from; DATABASE_URL.")
@click.option("--json", "as_json", is_flag=True, help="Satu objek JSON / one JSON object.")
@click.pass_obj
def copy(settings: Settings, *, target: URL, source: URL | None, as_json: bool) -> None:
    """Pindahkan semua ke basis data lain / move everything to another database.

    From SQLite to an empty PostgreSQL, or back: all tables, ids and keys, compared row by row. Meanwhile
    nobody can pay, and afterwards the old database is not served any more. What was broken off goes on when
    it is run again.
    """
    copying = Copying(
        closed_at_the_end(open_database(source or settings.database_url)),
        closed_at_the_end(open_database(target)),
    )
    try:
        with progress("copy") as bar:
            for done in copying.run():
                bar.update(steps(done, 1) - bar.pos)
            bar.update(STEPS - bar.pos)
    except CopyRefused as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(copying.rows))
    else:
        counts = ", ".join(f"{table} {rows}" for table, rows in copying.rows.items())
        click.echo(f"Tersalin dan sama / copied and compared: {counts}")
        click.echo(f"Sekarang / now: DATABASE_URL={name_of(target)}")
