"""`payment migrate`."""

import click

from payment.cli.opening import closed_at_the_end
from payment.core.settings import Settings
from payment.storage.opening import open_database


@click.command()
@click.pass_obj
def migrate(settings: Settings) -> None:
    """Perbarui skema basis data / bring the database schema up to date."""
    url = settings.database_direct_url or settings.database_url
    database = closed_at_the_end(open_database(url))
    click.echo("Skema diperbarui / migrated" if database.migrate() else "Sudah baru / up to date")
