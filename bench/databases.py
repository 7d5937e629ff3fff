"""The databases under test: a fresh one for each service, as a SQLite file or on a real PostgreSQL server."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, make_url, text

from bench.servers import ROOT
from payment.storage.opening import open_database

sys.path.append(str(ROOT / "services" / "payment" / "tests"))
from postgres import PostgresServer, create_database

FSYNC_SAMPLES = 200


@contextlib.contextmanager
def postgres_server() -> Iterator[URL]:
    """Run a PostgreSQL server of our own while the block lasts; a commit is on the disk when it returns."""
    folder = Path(tempfile.gettempdir())  # a RAM disk, as in tests, makes nothing durable
    server = PostgresServer("fsync=on", "synchronous_commit=on", within=folder)
    try:
        yield server.url
    finally:
        server.remove()


def postgres_database(server: URL, name: str) -> URL:
    """Create an empty database."""
    return create_database(server, name)


def sqlite_database(directory: Path, name: str) -> URL:
    """The URL of a SQLite file that the service creates itself."""
    return make_url(f"sqlite:///{directory / name}.db")


def migrated(url: URL) -> URL:
    """Bring a database to the schema of our service; returns its URL."""
    database = open_database(url)
    database.migrate()
    database.close()
    return url


def text_of(url: URL) -> str:
    """The URL as a setting."""
    return url.render_as_string(hide_password=False)


def execute(url: URL, statement: str) -> None:
    """Run a statement and commit it."""
    with _connected(url) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


def execute_all(url: URL, statements: Iterable[str]) -> None:
    """Run statements over one connection, each committed by itself."""
    with _connected(url) as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in statements:
            alone.execute(text(statement))


def count_rows(url: URL, tables: Mapping[str, object] | Sequence[str]) -> dict[str, int]:
    """How many rows each of the tables holds."""
    with _connected(url) as connection:
        return {name: _number(connection, f"SELECT count(*) FROM {name}") for name in tables}


def count_waiting(url: URL, service: str) -> int:
    """How many notifications of our service wait for a neighbour."""
    query = f"SELECT count(*) FROM notifications WHERE state = 'waiting' AND service = '{service}'"
    with _connected(url) as connection:
        return _number(connection, query)


def payment_ids(url: URL, most: int) -> tuple[int, ...]:
    """The ids of up to `most` payments."""
    with _connected(url) as connection:
        return tuple(connection.execute(text(f"SELECT id FROM payments ORDER BY id LIMIT {most}")).scalars())


def version(url: URL) -> str:
    """The server's version, such as 15.4."""
    with _connected(url) as connection:
        return str(connection.execute(text("SHOW server_version")).scalar_one())


def fsync_ms(directory: Path) -> float:
    """How long this disk takes to make 4 KiB durable: the floor under every commit."""
    page = bytes(4096)
    with tempfile.TemporaryFile(dir=directory) as file:
        started_at = time.perf_counter()
        for _ in range(FSYNC_SAMPLES):
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        return (time.perf_counter() - started_at) / FSYNC_SAMPLES * 1000


@contextlib.contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    driver = "postgresql+psycopg" if url.get_backend_name() == "postgresql" else url.drivername
    engine = create_engine(url.set(drivername=driver))
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _number(connection: Connection, query: str) -> int:
    return int(connection.execute(text(query)).scalar_one())
