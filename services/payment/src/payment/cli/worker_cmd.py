"""`payment worker`."""

import signal

import click

from payment.cli.opening import opened
from payment.core.logs import get_logger
from payment.core.settings import Settings


@click.command()
@click.pass_obj
def worker(settings: Settings) -> None:
    """Beri tahu Order dan User / tell Order and User."""
    from payment.telling.worker import Worker  # noqa: PLC0415  # loads `requests`

    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # in all threads to come too, so one waits below
    telling = Worker(opened(settings), settings)
    telling.start()
    get_logger().info("worker started")
    signal.sigwait(ends)
    telling.stop()
    get_logger().info("stopped")
