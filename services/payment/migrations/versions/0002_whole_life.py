"""a payment's whole life: settled later, refunded.

Only adds and loosens, and reads no row, so that an older version may go on working beside it
(docs/operations.md). The indexes follow in 0003.

Revision: 0002
Before it: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

STATUS = "status IN ('pending', 'paid', 'failed', 'refunded')"
STATUS_BEFORE = "status IN ('pending', 'paid', 'failed')"

# What every row satisfies already, since nothing was ever refunded: so NOT VALID below, which reads no row.
CHECKS = {
    "payments": {
        "ck_payments_refunded": "(status = 'refunded') = (amount_refunded = amount)",
        "ck_payments_only_paid_is_refunded": "amount_refunded = 0 OR status IN ('paid', 'refunded')",
    },
    "bills": {"ck_bills_not_overrefunded": "refunded >= 0 AND refunded <= paid"},
}


def upgrade() -> None:
    op.add_column(
        "bills", sa.Column("refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "notifications", sa.Column("hurried", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("notifications", sa.Column("superseded_by", sa.BigInteger(), nullable=True))
    op.add_column("payments", sa.Column("settled_us", sa.BigInteger(), nullable=True))
    if op.get_bind().dialect.name == "sqlite":
        change_checks_of_sqlite()
    else:
        op.drop_constraint(op.f("ck_payments_status"), "payments")
        op.create_check_constraint(op.f("ck_payments_status"), "payments", STATUS, postgresql_not_valid=True)
        for table, checks in CHECKS.items():
            for name, check in checks.items():
                op.create_check_constraint(op.f(name), table, check, postgresql_not_valid=True)
    op.create_table(
        "refunds",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("refunded_before", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount >= 1", name=op.f("ck_refunds_amount")),
        sa.CheckConstraint("refunded_before >= 0", name=op.f("ck_refunds_refunded_before")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_refunds_payment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
    )
    op.create_index(op.f("ix_refunds_created"), "refunds", ["created_us"])
    op.create_index(
        op.f("ix_refunds_one_after_another"), "refunds", ["payment_id", "refunded_before"], unique=True
    )


def change_checks_of_sqlite() -> None:
    """Write the constraints into the schema: SQLite has no ALTER for them, and needs no row rewritten.

    This is the procedure of https://www.sqlite.org/lang_altertable.html, section 7, for changes that do
    not affect what is on the disk; copying a table of millions of payments would stop the service.
    """
    connection = op.get_bind()
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    for table, checks in CHECKS.items():
        sql: str = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table,)
        ).scalar_one()
        added = "".join(f",\n\tCONSTRAINT {name} CHECK ({check})" for name, check in checks.items())
        opened, closed = sql.replace(STATUS_BEFORE, STATUS).rstrip().removesuffix(")").rstrip(), "\n)"
        connection.exec_driver_sql(
            "UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = ?",
            (opened + added + closed, table),
        )
    connection.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")
