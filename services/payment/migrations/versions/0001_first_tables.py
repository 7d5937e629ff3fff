"""first tables.

Revision: 0001
Before it: nothing
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "bills",
        sa.Column("order_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("paid + pending <= total", name=op.f("ck_bills_not_overpaid")),
        sa.CheckConstraint("total >= 1 AND paid >= 0 AND pending >= 0", name=op.f("ck_bills_not_negative")),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_bills")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "operation", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created"), "idempotency_keys", ["created_us"])

    op.create_table(
        "leases",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("taken_over", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("service", "target_id", name=op.f("pk_leases")),
    )
    op.create_table(
        "payments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("amount_refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "method IN ('cash', 'card', 'qris', 'transfer', 'ewallet')", name=op.f("ck_payments_method")
        ),
        sa.CheckConstraint("status IN ('pending', 'paid', 'failed')", name=op.f("ck_payments_status")),
        sa.CheckConstraint("amount >= 1", name=op.f("ck_payments_amount")),
        sa.CheckConstraint(
            "amount_refunded >= 0 AND amount_refunded <= amount", name=op.f("ck_payments_not_overrefunded")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["bills.order_id"], name=op.f("fk_payments_order_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_order"), "payments", ["order_id"])
    op.create_index(op.f("ix_payments_user_newest"), "payments", ["user_id", "id"])

    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("target_id", sa.BigInteger(), nullable=False),
        sa.Column("payment_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_us", sa.BigInteger(), nullable=False),
        sa.Column("last_outcome", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("not_before_us", sa.BigInteger(), nullable=True),
        sa.Column("resend_us", sa.BigInteger(), nullable=True),
        sa.Column("is_repeat", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("due_since_us", sa.BigInteger(), nullable=False),
        sa.Column("unknown_since_us", sa.BigInteger(), nullable=True),
        sa.Column("settled_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'waiting') = (settled_us IS NULL)", name=op.f("ck_notifications_settled")
        ),
        sa.CheckConstraint("service IN ('order', 'user')", name=op.f("ck_notifications_service")),
        sa.CheckConstraint(
            "state IN ('waiting', 'delivered', 'superseded', 'dead')", name=op.f("ck_notifications_state")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_notifications_payment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_notifications_due"),
        "notifications",
        ["service", "next_attempt_us", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(op.f("ix_notifications_payment"), "notifications", ["payment_id"])
    op.create_index(
        op.f("ix_notifications_waiting"),
        "notifications",
        ["service", "target_id", "id"],
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
