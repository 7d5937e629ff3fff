"""indexes of references, of what expires and of late payments, built beside running processes as in 0003.

Revision: 0008
Before it: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

VALID = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid"

# name, table, columns, is unique, which rows
INDEXES = (
    (
        "ix_payments_one_reference",
        "payments",
        ["reference", "method"],
        True,
        "reference IS NOT NULL AND status <> 'failed'",
    ),
    (
        "ix_payments_reference",
        "payments",
        ["reference", "created_us", "id"],
        False,
        "reference IS NOT NULL",
    ),
    ("ix_payments_expires", "payments", ["expires_us", "created_us"], False, "status = 'pending'"),
    ("ix_payments_late", "payments", ["late", "created_us", "id"], False, "late"),
    ("ix_refunds_one_reference", "refunds", ["reference", "method"], True, "reference IS NOT NULL"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, table, columns, unique, where in INDEXES:
            rows = sa.text("late = 1" if where == "late" else where)  # it knows no booleans
            op.create_index(op.f(name), table, columns, unique=unique, sqlite_where=rows)
        return
    with op.get_context().autocommit_block():
        valid = op.get_bind().execute(sa.text(VALID)).scalars().all()
        for name, table, columns, unique, where in INDEXES:
            if name not in valid:
                op.drop_index(op.f(name), table, if_exists=True, postgresql_concurrently=True)
                op.create_index(
                    op.f(name),
                    table,
                    columns,
                    unique=unique,
                    postgresql_where=sa.text(where),
                    postgresql_concurrently=True,
                )
