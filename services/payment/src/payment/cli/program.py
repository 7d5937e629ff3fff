"""The `payment` program: its commands, and with which code it ends if one cannot do its work."""

import sys
from collections.abc import Sequence

import click
from sqlalchemy.exc import SQLAlchemyError

from payment import __version__
from payment.cli.demo import demo
from payment.cli.events import events
from payment.cli.keys import keys
from payment.cli.leashed import LEASH
from payment.cli.migrate import migrate
from payment.cli.notifications import notifications
from payment.cli.prune import prune
from payment.cli.reconcile import reconcile
from payment.cli.report import report
from payment.cli.serve_cmd import serve
from payment.cli.worker_cmd import worker
from payment.core.logs import configure_logs
from payment.core.settings import SettingsError, read_settings
from payment.storage.migrate import OldSchemaError
from payment.storage.ownership import ForeignDatabase
from payment.supervision.leash import Leash

EXIT_FAILED = 1
EXIT_BAD_SETTING = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, the process's own unless given; the entry point of the `payment` program."""
    try:
        cli(arguments)
    except SettingsError as error:
        for name, problems in error.problems.items():
            click.echo(f"Pengaturan salah / bad setting: {name}: {' '.join(problems)}", err=True)
        sys.exit(EXIT_BAD_SETTING)
    except ForeignDatabase as error:
        _fail(f"Basis data milik program lain / another program's database: {error}")
    except SQLAlchemyError as error:
        said = str(error).partition("\n")[0]
        _fail(f"Basis data tidak dapat dipakai / the database cannot be used: {said}")
    except OldSchemaError as error:
        _fail(f"Skema basis data lama / old schema ({error}): payment migrate")


def _fail(said: str) -> None:
    click.echo(said, err=True)
    sys.exit(EXIT_FAILED)


@click.group()
@click.version_option(__version__, prog_name="payment", message="%(prog)s %(version)s")
@click.option("--process", hidden=True, help="its name, if it is one of several that are supervised.")
@click.option("--leash", type=int, hidden=True, help="the descriptor that ties it to its supervisor.")
@click.pass_context
def cli(context: click.Context, *, process: str | None, leash: int | None) -> None:
    """Layanan pembayaran restoran / the restaurant's payment service."""
    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format, process)
    context.obj = settings
    if leash is not None:
        context.meta[LEASH] = Leash(leash)
        context.meta[LEASH].hold()


for command in (serve, worker, migrate, notifications, events, keys, report, reconcile, prune, demo):
    cli.add_command(command)
