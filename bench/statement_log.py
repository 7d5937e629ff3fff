"""The statements that PostgreSQL was sent, as its log has them."""

import re
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import URL

from bench.databases import text_of

ENTRY = re.compile(r"^\d+ \w+:  ", re.MULTILINE)
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StatementLog:
    """The log of a server, from now on with every statement in it."""

    file: Path

    @classmethod
    def of(cls, url: URL) -> "StatementLog":
        """Have the server log all statements of later sessions on this database."""
        with psycopg.connect(text_of(url), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET log_line_prefix = '%p '")
            connection.execute(f"ALTER DATABASE \"{url.database}\" SET log_statement = 'all'".encode())
            connection.execute("SELECT pg_reload_conf()")
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
            return cls(Path(row[0]).parent / "log")

    def position(self) -> int:
        """How far it has been written."""
        return self.file.stat().st_size

    def since(self, position: int) -> int:
        """The statements since then."""
        with self.file.open("rb") as file:
            file.seek(position)
            return count(file.read().decode(errors="replace"))


def count(text: str) -> int:
    """The statements in a piece of the log, each of a text of several; without NOTIFY, which goes by time."""
    statements: list[str] = []
    starts = [*ENTRY.finditer(text)]
    for entry, end in zip(starts, [*(each.start() for each in starts[1:]), len(text)], strict=True):
        if said := STATEMENT.search(text, entry.start(), end):
            statements += [each.strip() for each in said[1].split(";") if each.strip()]
    return sum(not each.startswith("NOTIFY") for each in statements)
