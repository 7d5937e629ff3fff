"""All payments, and all that belongs to them, from one database to another one, which goes on with them.

The source is locked against writers from the first row to the last. Each table is filled, compared row by
row and committed in a transaction of its own; until all are there, the target says that it is being filled
(`storage.moves`), and nobody serves it. Then the source says that its payments have moved, and only after
that the target may be served. Whenever this is broken off, one of the two may be served at most, and it goes
on when it is run again (docs/decisions/0024).
"""

import secrets
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from itertools import chain, zip_longest

from sqlalchemy import Connection, Table, inspect, literal, select, text
from sqlalchemy.exc import OperationalError

from payment.storage.base import Database
from payment.storage.copy_side import Chunk, Side, ids_of
from payment.storage.ids import keep_ids_above, last_id
from payment.storage.migrate import SCHEMA_REVISION, OldSchemaError, is_current
from payment.storage.moves import Move, MoveState, find_move, guard, mark, name_of, unguard, unmark
from payment.storage.tables import BEGINS_WITH_ROWS, metadata

ALL_TABLES = tuple(metadata.sorted_tables)
"""Each after those that it refers to."""

_LOCK = text("SELECT pg_advisory_xact_lock(0, :number)")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(0, :number)")


class CopyRefused(Exception):
    """It cannot be copied; the text says why, in both languages."""


class _Differs(CopyRefused):
    """A row of the target is not as it is in the source."""


class Copying:
    """A copy from one database to another one.

    Args:
        source: it holds the payments.
        target: it is empty, or an earlier copy from this source was broken off there.
        tables: all that both have, each after those that it refers to.

    Attributes:
        rows: how many each table has; `run` fills it.
    """

    def __init__(self, source: Database, target: Database, tables: Sequence[Table] = ALL_TABLES) -> None:
        self._source, self._target = source, target
        self._tables = tables
        self._moved = Move(MoveState.MOVED, name_of(target.url))
        self._filling = Move(MoveState.FILLING, name_of(source.url))
        self.rows: dict[str, int] = {}

    def run(self) -> Generator[float]:
        """Copy; gives how much is done, 0 to 1, again and again.

        Raises:
            CopyRefused: it cannot be, and the source is as it was.
            NotServed: the payments of the source are in yet another database, or not all there.
            ForeignDatabase: one of them belongs to another program.
            OldSchemaError: the source is older, and does not migrate itself.
            Migrating: another process migrates one of them, or copies.
        """
        if not self._has_moved():
            self._check_source()
            self._check_target()
            with self._source.copying() as source, self._frozen(source):
                self._check_fits(source)
                if not self._is_begun():
                    self._target.migrate()
                with self._target.copying() as target:
                    self._begin(target)
                    yield from self._fill(source, target)
                    self._end(source, target)
                mark(source.connection, self._moved, self._tables)
        yield 1.0
        with self._target.copying() as target, target.transaction():
            unmark(target.connection, self._tables)

    def _has_moved(self) -> bool:
        """Say whether an earlier copy had come to its end, but for the last step."""
        with self._source.read() as connection:
            has_moved = find_move(connection) == self._moved
        return has_moved and self._is_begun()

    def _is_begun(self) -> bool:
        with self._target.read() as connection:
            return find_move(connection) == self._filling

    def _check_source(self) -> None:
        self._source.refuse_moved()
        if self._source.migrates_itself:
            self._source.migrate()
        self._source.refuse_foreign()
        revision = self._source.schema_revision()
        if not is_current(revision):
            raise OldSchemaError(revision)
        _check_version(self._source, revision)

    def _check_target(self) -> None:
        """Look at the target before anything is done."""
        self._target.refuse_foreign()
        revision = self._target.schema_revision()
        with self._target.read() as connection:
            if self._is_source(connection):
                raise CopyRefused(
                    f"Sumber dan tujuan sama / source and target are the same: {self._moved.other}"
                )
            if revision is not None and (is_current(revision) or find_move(connection)):
                _check_version(self._target, revision)
            self._check_empty(connection)

    def _is_source(self, connection: Connection) -> bool:
        """Say whether a connection to the target leads to the source, whatever that is called there."""
        if {self._source.url.get_backend_name(), self._target.url.get_backend_name()} != {"postgresql"}:
            return self._moved.other == self._filling.other
        number = {"number": secrets.randbelow(2**31)}
        connection.execute(_LOCK, number)  # it is seen within one database
        with self._source.read() as other:
            return not other.execute(_TRY_LOCK, number).scalar_one()

    def _check_empty(self, connection: Connection) -> None:
        """Refuse a target that holds anything but what an earlier copy from this source has left."""
        move = find_move(connection)
        if move == self._filling:
            return
        there = set(inspect(connection).get_table_names())
        full = [
            table.name
            for table in self._tables
            if table.name in there
            and not table.info.get(BEGINS_WITH_ROWS)
            and connection.execute(select(literal(1)).select_from(table).limit(1)).first()
        ]
        if move or full:
            raise CopyRefused(
                f"Tujuan tidak kosong / the target is not empty: {self._moved.other}: "
                f"{move or ', '.join(full)}"
            )

    @contextmanager
    def _frozen(self, source: Side) -> Iterator[None]:
        """Keep others from writing to the source; what is done there is committed at the end."""
        with ExitStack() as end:
            try:
                end.enter_context(source.transaction())
                source.freeze(self._tables)
            except OperationalError as error:
                raise CopyRefused(
                    f"Sumber sedang dipakai / the source is in use: {self._filling.other}: "
                    f"hentikan serve dan worker / stop serve and worker: {error.orig}"
                ) from error
            yield

    def _check_fits(self, source: Side) -> None:
        """Look at all that will be copied."""
        _check_encoding(source, self._filling.other)
        self.rows = {table.name: source.count(table) for table in self._tables}
        if self._target.url.get_backend_name() == "sqlite":
            return
        for table in self._tables:
            if why := source.find_unfit(table):
                raise CopyRefused(f"PostgreSQL tidak dapat menyimpan / PostgreSQL cannot hold: {why}")

    def _begin(self, target: Side) -> None:
        """Have nobody serve or change the target from now on."""
        with target.transaction():
            _check_encoding(target, self._moved.other)
            target.freeze(self._tables)
            self._check_empty(target.connection)
            if find_move(target.connection) is None:
                mark(target.connection, self._filling, self._tables)

    def _fill(self, source: Side, target: Side) -> Iterator[float]:
        """Fill the tables; those that an earlier copy has filled stay as they are."""
        whole = 2 * sum(self.rows.values()) or 1
        done = 0
        missing = list(self._tables)
        with target.transaction():
            try:
                for table in self._tables:
                    yield from (done / whole for _ in self._compare(source, target, table))
                    done += 2 * self.rows[table.name]
                    missing.remove(table)
            except _Differs:
                pass
        with target.transaction():
            unguard(target.connection, missing)
            target.empty(missing)
            guard(target.connection, missing, self._filling)
        for table in missing:
            with target.transaction():
                unguard(target.connection, [table])
                for rows in chain(
                    target.fill(table, source.rows(table)), self._compare(source, target, table)
                ):
                    done += rows
                    yield done / whole
                guard(target.connection, [table], self._filling)

    def _compare(self, source: Side, target: Side, table: Table) -> Iterator[int]:
        """Compare a table row by row; gives how many are equal, chunk by chunk.

        Raises:
            _Differs: not all are.
        """
        with closing(source.rows(table)) as sent, closing(target.rows(table)) as came:
            for ours, theirs in zip_longest(sent, came, fillvalue=()):
                if ours != theirs:
                    raise _Differs(f"Tidak sama / not the same: {_first_that_differs(table, ours, theirs)}")
                yield len(ours)

    def _end(self, source: Side, target: Side) -> None:
        """Compare what all columns add up to, and let ids go on where they do in the source."""
        with target.transaction():
            for table in self._tables:
                sent, came = source.sums(table), target.sums(table)
                if sent != came:
                    raise _Differs(f"Jumlah tidak sama / sums differ: {table.name}: {sent}, {came}")
            for column in ids_of(self._tables):
                keep_ids_above(target.connection, column, last_id(source.connection, column))
            target.note_sizes()


def _check_version(database: Database, revision: str | None) -> None:
    if revision != SCHEMA_REVISION:
        name = name_of(database.url)
        raise CopyRefused(f"Versi lain / another version: {name}: {revision}, bukan / not {SCHEMA_REVISION}")


def _check_encoding(side: Side, name: str) -> None:
    if (encoding := side.encoding) != "UTF8":
        raise CopyRefused(f"Bukan UTF-8 / not UTF-8: {name}: {encoding}")


def _first_that_differs(table: Table, ours: Chunk, theirs: Chunk) -> str:
    """Return the table and the primary key of the first row that the other one has not, or not so."""
    pairs = zip_longest(ours, theirs)
    row = next(mine or other for mine, other in pairs if mine != other)
    names = [column.name for column in table.columns]
    key = ", ".join(f"{column.name}={row[names.index(column.name)]}" for column in table.primary_key)
    return f"{table.name} ({key})"
