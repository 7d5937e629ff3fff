"""the index of open bills, built beside running processes as in 0003.

Revision: 0010
Before it: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

NAME = "ix_bills_open"
ROWS = "paid < total AND paid + pending > 0"
VALID = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE indisvalid"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(op.f(NAME), "bills", ["order_id"], sqlite_where=sa.text(ROWS))
        return
    with op.get_context().autocommit_block():
        if NAME not in op.get_bind().execute(sa.text(VALID)).scalars().all():
            op.drop_index(op.f(NAME), "bills", if_exists=True, postgresql_concurrently=True)
            op.create_index(
                op.f(NAME),
                "bills",
                ["order_id"],
                postgresql_where=sa.text(ROWS),
                postgresql_concurrently=True,
            )
