"""why notifications failed: their last failed attempts, and an index by the last one's outcome.

PostgreSQL builds the index CONCURRENTLY, as 0003 does, and first: what is broken off after it finds it built.
No row is changed.

Revision: 0006
Before it: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

INDEX = "ix_notifications_failed"
IS_VALID = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        build(concurrently=False)
    else:
        with op.get_context().autocommit_block():
            if not op.get_bind().execute(IS_VALID, {"name": INDEX}).scalar():
                op.drop_index(op.f(INDEX), "notifications", if_exists=True, postgresql_concurrently=True)
                build(concurrently=True)
    op.add_column("notifications", sa.Column("failures", sa.JSON(), nullable=True))


def build(*, concurrently: bool) -> None:
    rows = sa.text("last_outcome <> 'delivered'")
    op.create_index(
        op.f(INDEX),
        "notifications",
        ["last_outcome", "service", "state", "id"],
        sqlite_where=rows,
        postgresql_where=rows,
        postgresql_concurrently=concurrently,
    )
