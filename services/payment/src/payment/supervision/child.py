"""A process that the supervisor has started: this program again, with a leash."""

import asyncio
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from payment.core.logs import get_logger
from payment.supervision.leash import READY

START_WITHIN_S = 60.0
"""How long a start may take; one that hangs is killed."""

EXIT_FAILED = 1

_log = get_logger()


class CouldNotStart(Exception):
    """A process ended before it was ready, and has said why; `code` is what we end with for it."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name}: {code}")
        self.name = name
        self.code = code if code > 0 else EXIT_FAILED


class Child:
    """A process of ours.

    Args:
        name: what its log lines say, `1` or `worker`.
        process: itself.
        leash: our end of its leash.

    Attributes:
        pid: its process id.
        began_s: when it was started, on the event loop's clock.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, leash: socket.socket) -> None:
        self.pid = process.pid
        self.began_s = asyncio.get_running_loop().time()
        self._name = name
        self._process = process
        self._leash = leash

    @property
    def runs(self) -> bool:
        """Say whether it has not ended yet."""
        return self._process.returncode is None

    async def ready(self) -> None:
        """Return once it does its work.

        Raises:
            CouldNotStart: it ended before, or hangs.
        """
        said = b""
        try:
            async with asyncio.timeout(START_WITHIN_S):
                said = await asyncio.get_running_loop().sock_recv(self._leash, len(READY))
        except TimeoutError:
            _log.error("killed: its start hangs", process=self._name, pid=self.pid)
            self._send(signal.SIGKILL)
        if said != READY:
            raise CouldNotStart(self._name, await self.ended())

    async def ended(self) -> int:
        """Return its exit code once it has ended; minus the signal that killed it."""
        code = await self._process.wait()
        self._leash.close()
        return code

    async def end(self, until_s: float) -> bool:
        """End it in order; return whether it did so.

        Args:
            until_s: when it is killed, on the event loop's clock.
        """
        self._send(signal.SIGTERM)
        try:
            async with asyncio.timeout_at(until_s):
                code = await self.ended()
        except TimeoutError:
            _log.error("killed: it did not end", process=self._name, pid=self.pid)
            self._send(signal.SIGKILL)
            await self.ended()
            return False
        if code in {0, -signal.SIGTERM}:  # the signal kills what has not begun its work
            return True
        _log.error("did not end in order", process=self._name, pid=self.pid, code=code)
        return False

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)


async def start_child(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Start a process that runs `payment` with these arguments, and return it; it is not ready yet.

    Raises:
        CouldNotStart: the system has no room for it.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003  # the standard library's signature
    leash = ["--process", name, "--leash", str(theirs.fileno())]
    try:
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "payment", *leash, *arguments),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor, which keeps the order
            )
    except BaseException as error:
        ours.close()
        if isinstance(error, OSError):
            _log.error("no process can be made", process=name, error=error.strerror)
            raise CouldNotStart(name, EXIT_FAILED) from error
        raise
    return Child(name, process, ours)
