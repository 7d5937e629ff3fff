"""What ties a process to its supervisor: a socket, by which each learns what became of the other."""

import os
import signal
import socket
import threading
from contextlib import suppress

from payment.core.logs import get_logger

READY = b"1"

_log = get_logger()


class Leash:
    """The process's own end.

    Args:
        descriptor: of the socket, inherited from the supervisor.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # noqa: FBT003  # the standard library's signature
        self._socket = socket.socket(fileno=descriptor)

    def hold(self) -> None:
        """End this process in order, as SIGTERM does, once the supervisor is gone (killed, say)."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # with none of the signals: they are for the threads that know what to do
        threading.Thread(target=self._wait, name="leash", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def ready(self) -> None:
        """Tell the supervisor that this process does its work now."""
        with suppress(OSError):  # it is gone, which `hold` sees
            self._socket.send(READY)

    def _wait(self) -> None:
        self._socket.recv(1)  # nothing is ever sent here
        _log.warning("the supervisor is gone")
        os.kill(os.getpid(), signal.SIGTERM)
