"""Rows of the tables to records and back.

A field of a record is the column of the same name. Nothing here lists the fields, so none can be forgotten.
"""

from collections.abc import Collection
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_type_hints

from payment.ledger.idempotency import BookedAnswer, Key, UsedKey
from payment.ledger.records import Bill, LateMoney, Payment, Refund

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class RowMapper(Generic[Record]):
    """Turns rows of one table into records and back.

    Args:
        record: the dataclass; each of its fields is a column of the table.
        fixed: the fields that never change once the row is there.
    """

    def __init__(self, record: type[Record], *, fixed: Collection[str] = ()) -> None:
        self._record = record
        self._names = tuple(field.name for field in fields(record))
        self._changing = tuple(name for name in self._names if name not in fixed)
        hints = get_type_hints(record)
        self._enums = [(name, enum) for name in self._names if (enum := _enum_of(hints[name]))]
        self._flags = [name for name in self._names if hints[name] is bool]  # SQLite has numbers

    def from_row(self, row: Any) -> Record:
        """Return the record that a row of a query stands for."""
        values = {name: getattr(row, name) for name in self._names}
        for name, enum in self._enums:
            if values[name] is not None:
                values[name] = enum(values[name])
        for name in self._flags:
            values[name] = bool(values[name])
        return self._record(**values)

    def to_row(self, record: Record) -> dict[str, Any]:
        """Return the row to insert. `asdict` copies what it finds, which takes ten times as long."""
        return {name: getattr(record, name) for name in self._names}

    def to_changed_row(self, record: Record) -> dict[str, Any]:
        """Return what to update: the primary key, and every column that may change."""
        return {name: getattr(record, name) for name in self._changing}


def _enum_of(hint: Any) -> type[StrEnum] | None:
    """Return the StrEnum of a type hint, `Status` or `Status | None`; None if it names no StrEnum."""
    for each in (hint, *get_args(hint)):
        if isinstance(each, type) and issubclass(each, StrEnum):
            return each
    return None


BILLS = RowMapper(Bill)
PAYMENTS = RowMapper(Payment, fixed=("order_id", "user_id", "amount", "method", "created_us", "expires_us"))
REFUNDS = RowMapper(Refund)
LATE_MONEY = RowMapper(LateMoney, fixed=("amount", "came_us"))


def used_key(row: Any) -> UsedKey:
    """Return the key that a row of `idempotency_keys` stands for, with its answer."""
    return UsedKey(row.fingerprint, BookedAnswer(row.status, row.location, row.body))


def key_row(key: Key, answer: BookedAnswer, now_us: int) -> dict[str, Any]:
    """Return the row to insert for a key and its answer."""
    return {
        "caller": key.caller,
        "operation": key.operation,
        "key": key.key,
        "fingerprint": key.fingerprint,
        "status": answer.status,
        "location": answer.location,
        "body": answer.body,
        "created_us": now_us,
    }
