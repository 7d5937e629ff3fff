"""indexes of lists, built beside running processes.

PostgreSQL builds each CONCURRENTLY, which keeps nobody waiting, waits itself for whoever reads, and cannot be
undone as a whole: what is there is kept by the next try, and one that was broken off is built anew.

Revision: 0003
Before it: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

VALID = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid"

# name, table, columns, which rows (all if None)
INDEXES = (
    ("ix_payments_created", "payments", ["created_us", "id"], None),
    ("ix_payments_user", "payments", ["user_id", "created_us", "id"], None),
    ("ix_payments_method", "payments", ["method", "created_us", "id"], None),
    ("ix_payments_not_paid", "payments", ["status", "created_us", "id"], "status <> 'paid'"),
    ("ix_payments_settled", "payments", ["settled_us"], "settled_us IS NOT NULL"),
    ("ix_notifications_not_delivered", "notifications", ["state", "service", "id"], "state <> 'delivered'"),
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for index in INDEXES:
            build(*index, concurrently=False)
        return
    with op.get_context().autocommit_block():
        valid = op.get_bind().execute(sa.text(VALID)).scalars().all()
        for index in INDEXES:
            name, table, *_ = index
            if name not in valid:
                op.drop_index(op.f(name), table, if_exists=True, postgresql_concurrently=True)
                build(*index, concurrently=True)


def build(name: str, table: str, columns: list[str], where: str | None, *, concurrently: bool) -> None:
    rows = sa.text(where) if where else None
    op.create_index(
        op.f(name),
        table,
        columns,
        sqlite_where=rows,
        postgresql_where=rows,
        postgresql_concurrently=concurrently,
    )
