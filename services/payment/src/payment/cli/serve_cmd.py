"""`payment serve`."""

import gc
import sys
import warnings

import click

from payment.cli.leashed import held_leash
from payment.core.settings import PROCESSES_LIMIT, Settings, SettingsError
from payment.web.listener import CannotListen, PortInUse

NOT_ON_SQLITE = (
    "must be 1 on SQLite: only one process at a time can write to its file, and payments that come together "
    "share a commit only within one process, so more would be slower. PostgreSQL (DATABASE_URL) takes several"
)


@click.command()
@click.option("--no-worker", is_flag=True, help="API saja, tanpa pekerja / the API alone.")
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1, PROCESSES_LIMIT),
    help="sekian proses API pada satu port / so many API processes on one port (PROCESSES).",
)
@click.pass_obj
def serve(settings: Settings, *, no_worker: bool, processes: int | None) -> None:
    """Jalankan API dengan pekerjanya / serve the API, its worker inside."""
    try:
        if held_leash() is None and (count := processes or settings.processes) > 1:
            _serve_by_several(settings, count, with_worker=not no_worker)
        else:
            _serve_alone(settings, with_worker=not no_worker)
    except PortInUse as error:
        click.echo(f"Alamat sudah dipakai / address in use: {error}", err=True)
        sys.exit(1)
    except CannotListen as error:
        click.echo(f"Alamat tidak dapat dipakai / cannot listen: {error}", err=True)
        sys.exit(1)


def _serve_alone(settings: Settings, *, with_worker: bool) -> None:
    gc.disable()  # all that is loaded stays; `serve` collects once it is all there
    with warnings.catch_warnings():
        # Connexion loads Starlette's test client, which has an opinion on its HTTP library
        warnings.filterwarnings("ignore", message="Using `httpx` with `starlette.testclient`")
        from payment.serve import serve as serve_api  # noqa: PLC0415  # takes 0.4 s to load

    leash = held_leash()
    serve_api(settings, with_worker=with_worker, ready=leash.ready if leash else None)


def _serve_by_several(settings: Settings, count: int, *, with_worker: bool) -> None:
    from payment.supervision.supervisor import supervise  # noqa: PLC0415  # loads asyncio

    if settings.database_url.get_backend_name() == "sqlite":
        raise SettingsError({"PROCESSES": [NOT_ON_SQLITE]})
    sys.exit(supervise(settings, processes=count, with_worker=with_worker))
