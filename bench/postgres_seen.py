"""A PostgreSQL server as /proc and it itself show it: CPU and memory of its backends, sizes of its tables."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from bench.databases import text_of
from bench.processes import children, cpu_s, local_ports
from bench.servers import Running

SIZES = """
SELECT tables.relname, coalesce(indexes.relname, tables.relname),
    pg_relation_size(coalesce(indexes.oid, tables.oid))
FROM pg_class AS tables, LATERAL (
    SELECT relname, pg_class.oid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = tables.oid
    UNION ALL SELECT NULL, NULL
) AS indexes
WHERE tables.relkind = 'r' AND tables.relnamespace = 'public'::regnamespace
ORDER BY pg_total_relation_size(tables.oid) DESC, indexes.oid IS NOT NULL, 3 DESC
"""


@dataclass(slots=True)
class Postgres:
    """The server as /proc and it itself show it, seen over one connection that is left out of all figures."""

    connection: psycopg.Connection[Any]
    data: Path
    postmaster: int

    @classmethod
    @contextlib.contextmanager
    def of(cls, url: URL) -> Iterator["Postgres"]:
        """Look at the server of a database while the block lasts."""
        with psycopg.connect(text_of(url), autocommit=True) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
            data = Path(row[0])
            yield cls(connection, data, int((data / "postmaster.pid").read_text().split()[0]))

    def cpu_s(self, *services: Running) -> list[float]:
        """CPU seconds of the backends of each service; last, of all other processes and those that ended."""
        own = self.connection.info.backend_pid
        backends = self.backends(*services)
        used = [sum(map(cpu_s, pids)) for pids in backends]
        known = {own, *(pid for pids in backends for pid in pids)}
        others = [pid for pid in children(self.postmaster) if pid not in known]
        return [*used, cpu_s(self.postmaster, with_ended_children=True) + sum(map(_cpu_s_if_any, others))]

    def backends(self, *services: Running) -> list[list[int]]:
        """The backends that serve each service."""
        of_port = dict(self.rows("SELECT client_port, pid FROM pg_stat_activity WHERE client_port > 0"))
        return [[of_port[port] for port in local_ports(each.pid) & of_port.keys()] for each in services]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self.connection.execute(query.encode()).fetchall()

    def number(self, query: str) -> float:
        """The one number that a query returns."""
        return float(self.rows(query)[0][0])

    def run(self, *statements: str) -> None:
        """Run statements, each by itself."""
        for statement in statements:
            self.connection.execute(statement.encode())

    def sizes(self) -> list[tuple[str, str, int]]:
        """Each table and each index: the table, its own name, bytes; the largest table first."""
        return [(table, name, size) for table, name, size in self.rows(SIZES)]


def _cpu_s_if_any(pid: int) -> float:
    """CPU seconds of a process; 0 if it has ended meanwhile: its parent's figure has it."""
    try:
        return cpu_s(pid)
    except FileNotFoundError:
        return 0.0
