"""API keys, and the log of events.

Only adds, and reads no row, so that an older version may go on working beside it (docs/operations.md). The
log begins empty: of what was done before, nobody knows who did it (docs/decisions/0014).

Revision: 0005
Before it: 0004
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TYPES = (
    "types IN ('payment.created', 'payment.paid', 'payment.failed', 'payment.refunded', 'refund.created', "
    "'notification.dead', 'notification.retried', 'key.created', 'key.revoked', "
    "'payment.created payment.paid')"
)
CLIENT = "length(client) BETWEEN 1 AND 64 AND replace(replace(client, '/', ''), ':', '') = client"
ACTIVE = sa.text("revoked_us IS NULL")
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RARE = sa.text(
    "types <> 'payment.created payment.paid' AND types <> 'payment.created' AND types <> 'payment.paid'"
)
OF_A_PAYMENT = sa.text("payment_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("notifications", sa.Column("request_id", sa.Text(), nullable=True))
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.Column("last_used_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(id) = 8", name=op.f("ck_api_keys_id")),
        sa.CheckConstraint(CLIENT, name=op.f("ck_api_keys_client")),
        sa.CheckConstraint("length(scopes) >= 1", name=op.f("ck_api_keys_scopes")),
        sa.CheckConstraint("length(secret_sha256) = 64", name=op.f("ck_api_keys_secret_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index(
        op.f("ix_api_keys_active"),
        "api_keys",
        ["expires_us"],
        sqlite_where=ACTIVE,
        postgresql_where=ACTIVE,
    )
    op.create_table(
        "events",
        sa.Column("id", ID, nullable=False),
        sa.Column("types", sa.Text(), nullable=False),
        sa.Column("payment_id", ID, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.CheckConstraint(TYPES, name=op.f("ck_events_types")),
        sa.CheckConstraint("length(actor) >= 1", name=op.f("ck_events_actor")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_events_payment"),
        "events",
        ["payment_id", "id"],
        sqlite_where=OF_A_PAYMENT,
        postgresql_where=OF_A_PAYMENT,
    )
    op.create_index(
        op.f("ix_events_rare"), "events", ["types", "id"], sqlite_where=RARE, postgresql_where=RARE
    )
    begins = op.create_table(
        "event_log",
        sa.Column("begins_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("begins_us", name=op.f("pk_event_log")),
    )
    op.bulk_insert(begins, [{"begins_us": time.time_ns() // 1000}])
