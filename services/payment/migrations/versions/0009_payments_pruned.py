"""Since when payments are kept: a table that has a row once `payment prune` has deleted some.

Revision: 0009
Before it: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "payment_log",
        sa.Column("begins_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("begins_us", name=op.f("pk_payment_log")),
    )
