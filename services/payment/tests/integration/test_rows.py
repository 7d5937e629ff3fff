"""Each field of a record is a column, and comes back from the database as it went in.

Nothing here lists the fields: a new one is tried by itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, replace
from enum import StrEnum
from itertools import count
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy import CheckConstraint, Connection, ForeignKeyConstraint, Table, make_url, select

from payment.ledger.records import Bill, LateMoney, Payment, Refund
from payment.ledger.rows import BILLS, LATE_MONEY, PAYMENTS, REFUNDS, RowMapper
from payment.storage.opening import open_database
from payment.storage.statements import insert_rows, update_rows
from payment.storage.tables import bills, late_money, payments, refunds

TABLES: Mapping[Any, tuple[RowMapper[Any], Table]] = {
    Bill: (BILLS, bills),
    Payment: (PAYMENTS, payments),
    Refund: (REFUNDS, refunds),
    LateMoney: (LATE_MONEY, late_money),
}
BY_RECORD = pytest.mark.parametrize("record", TABLES, ids=lambda record: record.__name__)
numbers = count(2_000_000_000_000)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A transaction in which the tables take any value: what values are right is not what is tried here."""
    database = open_database(make_url(database_url))
    with database.write() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        else:
            for _, table in TABLES.values():
                for each in table.constraints:
                    if isinstance(each, CheckConstraint | ForeignKeyConstraint):
                        connection.exec_driver_sql(f"ALTER TABLE {table.name} DROP CONSTRAINT {each.name}")
        yield connection
        connection.rollback()
    database.close()


@BY_RECORD
def test_each_field_of_a_record_is_a_column_and_each_column_a_field(record: Any) -> None:
    _, table = TABLES[record]
    assert {field.name for field in fields(record)} == set(table.columns.keys())


@BY_RECORD
def test_what_is_inserted_is_read_again_field_by_field(connection: Connection, record: Any) -> None:
    mapper, table = TABLES[record]
    one = any_of(record)
    insert_rows(connection, table, [mapper.to_row(one)])
    assert_same(read(connection, record), one)


@BY_RECORD
def test_what_is_changed_is_read_again_field_by_field(connection: Connection, record: Any) -> None:
    """All that may change does: a field is left out of an UPDATE only if it is named as one that is fixed."""
    mapper, table = TABLES[record]
    first = any_of(record)
    (key,) = table.primary_key
    may_change = mapper.to_changed_row(first).keys() - {key.name}
    changed = replace(first, **{name: getattr(any_of(record), name) for name in may_change})
    insert_rows(connection, table, [mapper.to_row(first)])
    update_rows(connection, table, [mapper.to_changed_row(changed)])
    assert_same(read(connection, record), changed)


def read(connection: Connection, record: Any) -> Any:
    mapper, table = TABLES[record]
    (row,) = connection.execute(select(table))
    return mapper.from_row(row)


def assert_same(found: Any, expected: Any) -> None:
    assert found == expected
    for field in fields(expected):
        kinds = type(getattr(found, field.name)), type(getattr(expected, field.name))
        assert kinds[0] is kinds[1], f"{field.name}: a {kinds[0]} where a {kinds[1]} was written"


def any_of(record: Any) -> Any:
    """Return a record of which each value is new, and none is its field's default."""
    hints = get_type_hints(record)
    return record(**{field.name: any_value(field, hints[field.name]) for field in fields(record)})


def any_value(field: Field[Any], hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    number = next(numbers)
    if kinds == [int]:
        return number
    if kinds == [str]:
        return f"{field.name} {number}"
    (kind,) = kinds
    if kind is bool:
        return not field.default
    assert issubclass(kind, StrEnum), f"{field.name}: say here what any {kind} may be"
    others = [each for each in kind if field.default is MISSING or each is not field.default]
    return others[number % len(others)]
