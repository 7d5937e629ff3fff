"""`payment serve`."""

import gc
import sys
import warnings

import click

from payment.core.settings import Settings


@click.command()
@click.option("--no-worker", is_flag=True, help="API saja, tanpa pekerja / the API alone.")
@click.pass_obj
def serve(settings: Settings, *, no_worker: bool) -> None:
    """Jalankan API dengan pekerjanya / serve the API, its worker inside."""
    gc.disable()  # all that is loaded stays; `serve` collects once it is all there
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
