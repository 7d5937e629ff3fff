"""`payment worker`."""

import signal
import sys
from collections.abc import Callable, Sequence

import click

from payment.cli.leashed import held_leash
from payment.cli.opening import opened
from payment.core.logs import get_logger
from payment.core.settings import Settings
from payment.core.tracing import open_tracer
from payment.storage.base import Database
from payment.watching.exposition import Exposition, say_build
from payment.watching.portmates import Portmates
from payment.watching.server import serve_metrics


@click.command()
@click.pass_obj
def worker(settings: Settings) -> None:
    """Beri tahu Order dan User / tell Order and User."""
    from payment.telling.worker import Worker  # noqa: PLC0415  # loads `requests`

    leash = held_leash()
    database = opened(settings)
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in all threads to come too, so one waits below
    tracer = open_tracer(settings)
    telling = Worker(database, settings, tracer)
    metrics = _serve_metrics(settings, database, telling.stuck)
    portmates = Portmates(settings.port) if leash and settings.metrics_port is None else None
    if portmates:  # what is scraped at the API shows this process too
        say_build(database)
        portmates.answer()
    telling.start()
    get_logger().info("worker started", **metrics)
    if leash:
        leash.ready()
    signal.sigwait(ends)
    if portmates:
        portmates.end()
    telling.stop()
    if tracer:
        tracer.close()
    get_logger().info("stopped")


def _serve_metrics(
    settings: Settings, database: Database, stuck: Callable[[], Sequence[str]]
) -> dict[str, str]:
    """Show metrics and health where METRICS_PORT says, if it is set; return what the log says of it."""
    if settings.metrics_port is None:
        return {}
    exposition = Exposition(database)
    say_build(database)
    try:
        return {"metrics": serve_metrics(settings.host, settings.metrics_port, exposition, stuck)}
    except OSError as error:
        where = f"METRICS_PORT={settings.metrics_port}: {error.strerror}"
        click.echo(f"Alamat tidak dapat dipakai / cannot listen: {where}", err=True)
        sys.exit(1)
