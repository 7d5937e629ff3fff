"""The `payment` program: its commands, and with which code it ends if one cannot do its work."""

import sys
from collections.abc import Sequence
from importlib import import_module

import click

EXIT_FAILED = 1
EXIT_BAD_SETTING = 2

COMMANDS = {
    "copy": (
        "copy_cmd",
        "Pindahkan semua ke basis data lain / move everything to another database.",
    ),
    "demo": (
        "demo",
        "Isi basis data kosong dengan hari-hari contoh / fill an empty database with sample days.",
    ),
    "events": (
        "events",
        "Apa yang terjadi, oleh siapa / what happened, by whom: the newest, or all after a cursor.",
    ),
    "keys": ("keys", "Kunci API untuk AUTH=keys / API keys for AUTH=keys."),
    "migrate": ("migrate", "Perbarui skema basis data / bring the database schema up to date."),
    "notifications": (
        "notifications",
        "Apa yang diberitahukan kepada Order dan User / what Order and User were told.",
    ),
    "prune": (
        "prune",
        "Hapus yang sudah lama / delete what is old: keys, settled notifications, payments, events.",
    ),
    "reconcile": (
        "reconcile",
        "Bandingkan dengan Order dan User / compare with what Order and User say now.",
    ),
    "report": ("report", "Penutupan harian / a day's closing: payments and refunds by method."),
    "restored": ("restored", "Cadangan sudah dipulihkan / a backup was restored: give no id twice."),
    "serve": ("serve_cmd", "Jalankan API dengan pekerjanya / serve the API, its worker inside."),
    "worker": ("worker_cmd", "Beri tahu Order dan User / tell Order and User."),
}
"""Each command's module, and the first sentence of its help, so that `--help` need not load any."""


class Commands(click.Group):
    """The commands, each loaded when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, None if there is none of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"payment.cli.{module}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each does."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])


@click.group(cls=Commands)
@click.version_option(package_name="payment", prog_name="payment", message="%(prog)s %(version)s")
@click.option("--process", hidden=True, help="its name, if it is one of several that are supervised.")
@click.option("--leash", type=int, hidden=True, help="the descriptor that ties it to its supervisor.")
@click.pass_context
def cli(context: click.Context, *, process: str | None, leash: int | None) -> None:
    """Layanan pembayaran restoran / the restaurant's payment service."""
    # what a command needs takes a third of a second to load
    from payment.core.logs import configure_logs  # noqa: PLC0415
    from payment.core.settings import read_settings  # noqa: PLC0415

    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format, process)
    context.obj = settings
    if leash is not None:
        from payment.cli.leashed import hold_leash  # noqa: PLC0415  # the same

        hold_leash(context, leash)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, the process's own unless given; the entry point of the `payment` program."""
    try:
        cli(arguments)
    except Exception as error:
        code, said = _explained(error)
        if not said:
            raise
        for line in said:
            click.echo(line, err=True)
        sys.exit(code)


def _explained(error: Exception) -> tuple[int, list[str]]:
    """Return how the program ends after an error, and what it says; nothing if that is a defect."""
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # loaded by what raised it

    from payment.core.settings import SettingsError  # noqa: PLC0415  # the same
    from payment.storage.errors import NotServed  # noqa: PLC0415  # the same
    from payment.storage.migrate import OldSchemaError  # noqa: PLC0415  # the same
    from payment.storage.ownership import ForeignDatabase  # noqa: PLC0415  # the same

    if isinstance(error, SettingsError):
        wrong = [
            f"Pengaturan salah / bad setting: {name}: {' '.join(problems)}"
            for name, problems in error.problems.items()
        ]
        return EXIT_BAD_SETTING, wrong
    if isinstance(error, ForeignDatabase):
        return EXIT_FAILED, [f"Basis data milik program lain / another program's database: {error}"]
    if isinstance(error, NotServed):
        return EXIT_FAILED, [str(error)]
    if isinstance(error, SQLAlchemyError):
        said = str(error).partition("\n")[0]
        return EXIT_FAILED, [f"Basis data tidak dapat dipakai / the database cannot be used: {said}"]
    if isinstance(error, OldSchemaError):
        return EXIT_FAILED, [f"Skema basis data lama / old schema ({error}): payment migrate"]
    return EXIT_FAILED, []
