"""Python programs as processes of their own that need not import everything first.

A process that has done so (multiprocessing's fork server, one a test process) is forked for each: the same
program, in a tenth of the time. `test_process.py` starts the service as people do.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL, Signals
from typing import TextIO

_context = get_context("forkserver")
_context.set_forkserver_preload(["payment.server", "payment.reconcile", "flask", "werkzeug.serving"])


class Forked:
    """A Python program that runs; as much of `subprocess.Popen` as the tests use.

    Args:
        program: the name of a package, as `python -m` takes it, or the path of a file.
        arguments: those of its command line.
        env: its whole environment.
        cwd: where it runs.
    """

    def __init__(
        self, program: str | Path, arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path | None
    ) -> None:
        reader, writer = _context.Pipe(duplex=False)
        self._process = _context.Process(
            target=_run, args=(program, list(arguments), dict(env), str(cwd or Path.cwd()), writer)
        )
        self._process.start()
        writer.close()
        self.stdout: TextIO = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, minus the signal that killed it, or None if it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended.

        Raises:
            TimeoutExpired: it has not within `timeout` seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self._process.exitcode

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        self.send_signal(SIGKILL)


def _run(
    program: str | Path, arguments: list[str], env: dict[str, str], cwd: str, output: Connection
) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output.fileno(), stream.fileno())
    output.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as it is, a text file
    sys.argv = [str(program), *arguments]
    if isinstance(program, Path):
        sys.path.insert(0, str(program.parent))
        runpy.run_path(str(program), run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
