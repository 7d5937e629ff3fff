"""what providers call payments and refunds, when a payment expires, and money that comes late.

Only adds and loosens, and reads no row, so that an older version may go on working beside it
(docs/operations.md). The indexes follow in 0008.

Revision: 0007
Before it: 0006
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TYPES = (
    "types IN ('payment.created', 'payment.paid', 'payment.failed', 'payment.refunded', "
    "'payment.referenced', 'payment.late', 'late.resolved', 'refund.created', 'notification.dead', "
    "'notification.retried', 'key.created', 'key.revoked', 'payment.created payment.paid')"
)
TYPES_BEFORE = (
    "types IN ('payment.created', 'payment.paid', 'payment.failed', 'payment.refunded', 'refund.created', "
    "'notification.dead', 'notification.retried', 'key.created', 'key.revoked', "
    "'payment.created payment.paid')"
)
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COLUMNS: dict[str, list[sa.Column[Any]]] = {
    "payments": [
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("late", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ],
    "refunds": [
        sa.Column("method", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
    ],
}

# What every row satisfies already, as these columns are new: so NOT VALID below, which reads no row.
CHECKS = {
    "payments": {
        "ck_payments_reference": "length(reference) BETWEEN 1 AND 64",
        "ck_payments_expires": "expires_us >= created_us",
        "ck_payments_late": "status = 'failed' OR NOT late",
    },
    "refunds": {
        "ck_refunds_reference": "length(reference) BETWEEN 1 AND 64",
        "ck_refunds_reference_of_method": "reference IS NULL OR method IS NOT NULL",
    },
}


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        for column in columns:
            op.add_column(table, column)
    create_late_money()
    if op.get_bind().dialect.name == "sqlite":
        change_checks_of_sqlite()
        return
    op.drop_constraint(op.f("ck_events_types"), "events")
    op.create_check_constraint(op.f("ck_events_types"), "events", TYPES, postgresql_not_valid=True)
    for table, checks in CHECKS.items():
        for name, check in checks.items():
            op.create_check_constraint(op.f(name), table, check, postgresql_not_valid=True)


def create_late_money() -> None:
    op.create_table(
        "late_money",
        sa.Column("payment_id", ID, autoincrement=False, nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("came_us", sa.BigInteger(), nullable=False),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("resolved_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("amount >= 1", name=op.f("ck_late_money_amount")),
        sa.CheckConstraint("length(reference) BETWEEN 1 AND 64", name=op.f("ck_late_money_reference")),
        sa.CheckConstraint(
            "(resolution IS NULL) = (resolved_us IS NULL)", name=op.f("ck_late_money_resolved")
        ),
        sa.CheckConstraint(
            "resolution IS NOT NULL OR reference IS NULL", name=op.f("ck_late_money_reference_of_resolution")
        ),
        sa.CheckConstraint(
            "resolution IN ('returned', 'booked', 'kept')", name=op.f("ck_late_money_resolution")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_late_money_payment_id")),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_late_money")),
    )
    op.create_index(op.f("ix_late_money_came"), "late_money", ["came_us"])
    is_open = sa.text("resolution IS NULL")
    op.create_index(
        op.f("ix_late_money_open"),
        "late_money",
        ["came_us"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def change_checks_of_sqlite() -> None:
    """Write the constraints into the schema, as 0002 does: copying a large table would stop the service."""
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in ("events", *CHECKS):
        sql: str = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)
        ).scalar_one()
        checks = CHECKS.get(table, {})
        added = "".join(f",\n\tCONSTRAINT {name} CHECK ({check})" for name, check in checks.items())
        opened, closed = sql.replace(TYPES_BEFORE, TYPES).rstrip().removesuffix(")").rstrip(), "\n)"
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?",
            (opened + added + closed, table),
        )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
