"""A program that runs beside the tests: how it is started, what it says, how it ends."""

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

import pytest

from forked import Forked

START_WITHIN_S = 60.0


class Running(Protocol):
    """A program that runs. `subprocess.Popen`, `Forked` and `Process` can all do this."""

    @property
    def pid(self) -> int:
        """Return its process id."""
        ...

    @property
    def stdout(self) -> IO[str] | None:
        """Return what it says, to be read; None if nobody listens."""
        ...

    def poll(self) -> int | None:
        """Return its exit code, minus the signal that killed it, or None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended; raise TimeoutExpired after `timeout` seconds."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send it a signal, if it runs."""
        ...

    def kill(self) -> None:
        """SIGKILL it."""
        ...


class Process:
    """A program whose lines are kept as they come, and can be waited for.

    Args:
        command: what to run. A list is a command line, run as a person would. A pair (package or file,
            arguments) is a Python program and is forked, which saves a second: see `forked`.
        environment: what it gets beside the PATH and the like.
        cwd: where it runs.
        powerless: see `Forked`.

    Attributes:
        lines: what it has said so far. A thread of ours writes them; the tests read them.
    """

    def __init__(
        self,
        command: list[str] | tuple[str | Path, Sequence[str]],
        environment: dict[str, str],
        cwd: Path | None = None,
        *,
        powerless: bool = False,
    ) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        env = inherited | environment
        self.lines: list[str] = []
        self._fresh: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._program: Running
        if isinstance(command, tuple):
            self._program = Forked(*command, env=env, cwd=cwd, powerless=powerless)
        else:
            self._program = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        self.stdout = self._program.stdout
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.stdout is not None
        for line in self.stdout:
            self.lines.append(line)
            self._fresh.put(line)
        self._fresh.put(None)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._program.pid

    def line_with(self, text: str) -> str:
        """Return the next line that contains the text."""
        deadline_s = time.monotonic() + START_WITHIN_S
        while (line := self._fresh.get(timeout=max(0.01, deadline_s - time.monotonic()))) is not None:
            if text in line:
                return line
        pytest.fail(f"ended with {self._program.wait()} before it said {text!r}:\n{''.join(self.lines)}")

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        return self._program.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended and all that it said is in `lines`.

        Raises:
            TimeoutExpired: it runs on after `timeout` seconds.
        """
        code = self._program.wait(timeout)
        self._reader.join()
        assert self.stdout is not None
        self.stdout.close()
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        self._program.send_signal(number)

    def kill(self) -> None:
        """SIGKILL it, as a crash or the OOM killer does; returns when it is gone."""
        self._program.kill()
        self.wait()

    def stop(self, within_s: float = 10.0) -> int:
        """SIGTERM it; return the exit code. One that does not end in time is killed, and the test fails."""
        self.send_signal(signal.SIGTERM)
        try:
            return self.wait(within_s)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"did not end within {within_s} s of SIGTERM:\n{''.join(self.lines)}")


def storm(process: Process) -> int:
    """Send SIGTERM again and again, so that one interrupts what another does; return the exit code."""
    for _ in range(1_000):
        process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    process.kill()
    return code
