"""Python programs, started quickly: a process that has imported everything already is forked for each.

That process is multiprocessing's fork server: one for each pytest process, which runs `preloaded` first. The
program is the same, and starts in a tenth of the time. `test_process.py` starts it as people do.
"""

import ctypes
import functools
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL
from typing import TextIO

import pytest

PRELOADED = "preloaded"

_context = get_context("forkserver")
_context.set_forkserver_preload([PRELOADED])


class Forked:
    """A Python program that runs; it is used as a `subprocess.Popen` is, see `programs.Running`.

    Args:
        program: the name of a package, as `python -m` takes it, or the path of a file.
        arguments: those of its command line.
        env: its whole environment.
        cwd: where it runs.
        powerless: root may do no more than others: what is not to be written is not.

    Attributes:
        stdout: what it says; on standard error too, unless that is kept apart.
        stderr: what it says there.
    """

    def __init__(
        self,
        program: str | Path,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None,
        keeps_apart: bool = False,
        powerless: bool = False,
    ) -> None:
        _start_fork_server()
        pipes = [_context.Pipe(duplex=False) for _ in range(1 + keeps_apart)]
        writers = [writer for _, writer in pipes]
        self._process = _context.Process(
            target=_run,
            args=(program, list(arguments), dict(env), str(cwd or Path.cwd()), writers, powerless),
        )
        self._process.start()
        opened: list[TextIO] = []
        for reader, writer in pipes:
            writer.close()
            opened.append(os.fdopen(os.dup(reader.fileno()), encoding="utf-8"))
            reader.close()
        self.stdout, self.stderr = opened[0], opened[-1]

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

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it."""
        self.send_signal(SIGKILL)


def run(
    program: str | Path,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None,
    timeout_s: float,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return its exit code and what it said.

    Raises:
        TimeoutExpired: it did not end within `timeout_s`.
    """
    forked = Forked(program, arguments, env=env, cwd=cwd, keeps_apart=True)
    with ThreadPoolExecutor(2) as readers, forked.stdout, forked.stderr:
        said = [readers.submit(stream.read) for stream in (forked.stdout, forked.stderr)]
        try:
            code = forked.wait(timeout_s)
        finally:
            forked.kill()
        stdout, stderr = (each.result() for each in said)
    return subprocess.CompletedProcess([str(program), *arguments], code, stdout, stderr)


@functools.cache
def _start_fork_server() -> None:
    with pytest.MonkeyPatch.context() as patch:  # it finds PRELOADED there
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()


def _give_up_powers() -> None:
    """Give up root's capabilities (capabilities(7)); somebody else has none."""
    if os.geteuid() == 0:
        version_3 = (ctypes.c_uint32 * 2)(0x20080522, 0)
        none = (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(version_3, none) == 0


def _run(
    program: str | Path,
    arguments: list[str],
    env: dict[str, str],
    cwd: str,
    writers: list[Connection],
    powerless: bool,  # noqa: FBT001  # multiprocessing passes it on
) -> None:
    assert PRELOADED in sys.modules, "the fork server keeps silent if it cannot import it"
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if powerless:
        _give_up_powers()
    for stream, writer in ((sys.stdout, writers[0]), (sys.stderr, writers[-1])):
        stream.flush()
        os.dup2(writer.fileno(), stream.fileno())
    for writer in writers:
        writer.close()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as it is, a text file
    sys.argv = [str(program), *arguments]
    if isinstance(program, Path):
        sys.path.insert(0, str(program.parent))
        runpy.run_path(str(program), run_name="__main__")
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
