"""Reconciliations that are asked for over HTTP, and what they found: two new tables, nothing else.

Revision: 0011
Before it: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

OPEN = sa.text("state = 'open'")


def nothing_yet(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=True),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("service", sa.Text(), nullable=True),
        sa.Column("repair", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_us", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("first_us", sa.BigInteger(), nullable=True),
        sa.Column("last_us", sa.BigInteger(), nullable=True),
        sa.Column("after_us", sa.BigInteger(), nullable=False),
        nothing_yet("after_id"),
        nothing_yet("agrees"),
        nothing_yet("waiting"),
        nothing_yet("differs"),
        nothing_yet("unknown"),
        nothing_yet("unanswered"),
        nothing_yet("told_again"),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("until_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'finished', 'failed', 'cancelled')", name=op.f("ck_reconciliations_state")
        ),
        sa.CheckConstraint("service IN ('order', 'user')", name=op.f("ck_reconciliations_service")),
        sa.CheckConstraint("length(id) = 8", name=op.f("ck_reconciliations_id")),
        sa.CheckConstraint("length(actor) >= 1", name=op.f("ck_reconciliations_actor")),
        sa.CheckConstraint(
            "(state = 'open') = (finished_us IS NULL)", name=op.f("ck_reconciliations_finished")
        ),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_reconciliations_error")),
        sa.CheckConstraint("(owner IS NULL) = (until_us IS NULL)", name=op.f("ck_reconciliations_owner")),
        sa.CheckConstraint("repair OR told_again = 0", name=op.f("ck_reconciliations_told_again")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        op.f("ix_reconciliations_one_at_a_time"),
        "reconciliations",
        ["state"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(op.f("ix_reconciliations_created"), "reconciliations", ["created_us", "id"])
    op.create_table(
        "reconciliation_findings",
        sa.Column("reconciliation_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("expected", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("service IN ('order', 'user')", name=op.f("ck_reconciliation_findings_service")),
        sa.CheckConstraint(
            "verdict IN ('differs', 'unknown', 'unanswered')", name=op.f("ck_reconciliation_findings_verdict")
        ),
        sa.CheckConstraint(
            "expected IN ('pending', 'paid', 'failed')", name=op.f("ck_reconciliation_findings_expected")
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_reconciliation_findings_number")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"],
            ["reconciliations.id"],
            name=op.f("fk_reconciliation_findings_reconciliation_id"),
        ),
        sa.PrimaryKeyConstraint("reconciliation_id", "number", name=op.f("pk_reconciliation_findings")),
    )
