"""A real PgBouncer in front of a PostgreSQL server of the tests; it is Debian's, as PyPI has none.

As root it runs as `nobody`, since it refuses to run as root.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from ports import free_port

START_WITHIN_S = 10.0
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")

CONFIGURATION = """
[databases]
* = host={server.host} port={server.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
max_client_conn = 1000
default_pool_size = 20
; each transaction in the session that has rested longest: whoever leaves something behind is found out
server_round_robin = 1
logfile = {log}
"""


class PgBouncer:
    """A PgBouncer on a free port of loopback.

    Args:
        server: what it pools the sessions of.
        mode: `transaction` or `session`.
    """

    def __init__(self, server: URL, mode: str) -> None:
        if PROGRAM is None:  # no PyPI package has it; `make test` needs only Python, make and a compiler
            pytest.skip("NOT RUN, there is no pgbouncer here: apt-get install pgbouncer")
        self._folder = Path(tempfile.mkdtemp(prefix="payment-pgbouncer-"))
        self.log = self._folder / "log"
        users = self._folder / "users"
        users.write_text(f'"{server.username}" "{server.password or ""}"\n')
        self._port = free_port()
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(
            CONFIGURATION.format(server=server, port=self._port, users=users, mode=mode, log=self.log)
        )
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            for each in (self._folder, users, configuration):
                shutil.chown(each, user)
        self._process = subprocess.Popen([PROGRAM, "--quiet", str(configuration)], user=user)
        self._wait(self.in_front_of(server))

    def in_front_of(self, url: URL) -> URL:
        """Return the URL of a database of the server that leads through it."""
        return url.set(host="127.0.0.1", port=self._port)

    def _wait(self, url: URL) -> None:
        deadline_s = time.monotonic() + START_WITHIN_S
        while True:
            try:
                psycopg.connect(url.render_as_string(hide_password=False)).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    pytest.fail(self.log.read_text() if self.log.exists() else "pgbouncer does not start")
                time.sleep(0.02)
            else:
                return

    def remove(self) -> None:
        """End it and delete everything."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
