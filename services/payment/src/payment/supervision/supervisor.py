"""`payment serve --processes N`: N API processes on one port and a worker, and who looks after them."""

import asyncio
import os
import secrets
import signal
from typing import NoReturn

from payment.core.environment import environment_with
from payment.core.logs import get_logger
from payment.core.settings import Settings
from payment.supervision.child import EXIT_FAILED, CouldNotStart
from payment.supervision.place import END_WITHIN_S, Place
from payment.web.listener import bind, url_of

API_FIRST_S = 0.5
"""So much later than the API the worker ends at the latest: it needs up to 9 s itself."""

_log = get_logger()


def supervise(settings: Settings, *, processes: int, with_worker: bool) -> int:
    """Serve the API by several processes until SIGTERM or Ctrl-C; SIGHUP renews them one after another.

    Args:
        settings: everything.
        processes: how many serve the API.
        with_worker: whether another one tells Order and User.

    Returns:
        The exit code: 0 if all ended in order, that of the process that could not start, else EXIT_FAILED.

    Raises:
        CannotListen: the address cannot be had.
    """
    if not settings.reuse_port:  # then the port is to be ours alone, which the next line does not ask
        bind(settings.host, settings.port, reuse_port=False).close()
    with bind(settings.host, settings.port, reuse_port=True) as holder:  # it never listens
        port = str(holder.getsockname()[1])
        own = {"PORT": port, "REUSE_PORT": "true", "CONSOLE_SECRET": _console_secret(settings)}
        environment = environment_with(own)
        names = [str(number) for number in range(1, processes + 1)]
        api = [Place(name, ["serve", "--no-worker"], environment, overlaps=True) for name in names]
        # the old worker has METRICS_PORT until it ends, so the new one cannot start beside it
        workers = [Place("worker", ["worker"], environment, overlaps=False)] if with_worker else []
        said = {"url": url_of(holder), "worker": with_worker, "processes": processes}
        return asyncio.run(Supervisor(api, workers, said).run())


def _console_secret(settings: Settings) -> str:
    """Return the secret of the console's sessions, the same for all processes: drawn here if none is set."""
    if settings.console_secret is not None:
        return settings.console_secret
    if settings.reuse_port and settings.console and settings.auth == "keys":
        _log.warning("sessions are not shared", see="CONSOLE_SECRET")
    return secrets.token_urlsafe(32)


class Supervisor:
    """Looks after the processes.

    Args:
        api: the places of those that serve the API.
        workers: the places of those that tell the neighbours.
        said: what the log says once all are ready.
    """

    def __init__(self, api: list[Place], workers: list[Place], said: dict[str, object]) -> None:
        self._api = api
        self._workers = workers
        self._said = said
        self._is_told_to_end = asyncio.Event()
        self._is_told_to_renew = asyncio.Event()
        # `nohup` has the signal ignored: who says that is to outlive the terminal
        self._needs_terminal = has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN

    async def run(self) -> int:
        """Start all, keep them, end them in order; return the exit code."""
        heeded = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        loop = asyncio.get_running_loop()
        for number in heeded:  # not by `add_signal_handler`, which complains of signals that come in hundreds
            signal.signal(number, lambda number, _frame: loop.call_soon_threadsafe(self._heed, number))
        code = 0
        try:
            await self._keep_until_the_end()
        except CouldNotStart as error:
            code = error.code
        finally:
            for number in heeded:
                signal.signal(number, lambda *_: None)  # SIG_IGN complains of one that comes just now
            in_order = await self._end()
        if code == 0:
            _log.info("stopped")
        return code if in_order else code or EXIT_FAILED

    async def _keep_until_the_end(self) -> None:
        serving = asyncio.create_task(self._serve())
        told = asyncio.create_task(self._is_told_to_end.wait())
        await asyncio.wait({serving, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not self._is_told_to_end.is_set():
            serving.result()  # nothing but an exception
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)

    async def _serve(self) -> NoReturn:
        """Start all and keep them.

        Raises:
            CouldNotStart: the first that serves the API cannot, or a worker.
        """
        first, *like_it = self._api
        await first.fill()  # what keeps all of them from starting is said by one
        # what keeps one of the others is of this moment (PostgreSQL is restarted, say), and the first serves
        others = (*(place.fill_in_the_end() for place in like_it), *(place.fill() for place in self._workers))
        await asyncio.gather(*others)
        _log.info("listening", **self._said)
        async with asyncio.TaskGroup() as keeping:
            for place in (*self._api, *self._workers):
                keeping.create_task(place.keep())
            while True:
                await self._is_told_to_renew.wait()
                self._is_told_to_renew.clear()
                await self._renew()

    async def _renew(self) -> None:
        _log.info("renewing all processes")
        try:
            for place in (*self._api, *self._workers):
                await place.renew()
        except CouldNotStart as error:
            _log.error("not renewed: a new process did not start", process=error.name, code=error.code)
        else:
            _log.info("all processes are new")

    async def _end(self) -> bool:
        until_s = asyncio.get_running_loop().time() + END_WITHIN_S
        api = [asyncio.create_task(place.end(until_s)) for place in self._api]
        await asyncio.wait(api, timeout=API_FIRST_S)
        return all(await asyncio.gather(*api, *(place.end(until_s) for place in self._workers)))

    def _heed(self, number: int) -> None:
        """End; at SIGHUP renew, unless it came because the terminal was closed."""
        if number != signal.SIGHUP or (self._needs_terminal and not has_terminal()):
            self._is_told_to_end.set()
        else:
            self._is_told_to_renew.set()


def has_terminal() -> bool:
    """Say whether this process runs on a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True
