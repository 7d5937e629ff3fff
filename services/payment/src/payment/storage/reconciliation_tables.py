"""The tables of reconciliations that somebody asked for over HTTP, and of what they found."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text, text

from payment.core.neighbours import NEIGHBOURS
from payment.core.states import DISAGREEMENTS, ReconciliationState, Status
from payment.storage.schema import metadata, one_of, only

NOTHING_YET: dict[str, Any] = {"nullable": False, "server_default": text("0")}

# One is open at a time: the unique index says so. Whoever has the lease (`owner`, `until_us`) works it off,
# and writes how far it came with what it found there.
reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("since", Text),  # the restaurant's day; null for all payments
    Column("since_us", BigInteger, nullable=False),
    Column("service", Text),  # null for all
    Column("repair", Boolean(create_constraint=False), nullable=False),
    Column("actor", Text, nullable=False),
    Column("request_id", Text),
    Column("traceparent", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("finished_us", BigInteger),
    Column("error", Text),
    Column("first_us", BigInteger),  # when the first and the last payment were made that it looks at
    Column("last_us", BigInteger),
    Column("after_us", BigInteger, nullable=False),  # the payment that it has come to
    Column("after_id", BigInteger, **NOTHING_YET),
    Column("agrees", BigInteger, **NOTHING_YET),
    Column("waiting", BigInteger, **NOTHING_YET),
    Column("differs", BigInteger, **NOTHING_YET),
    Column("unknown", BigInteger, **NOTHING_YET),
    Column("unanswered", BigInteger, **NOTHING_YET),
    Column("told_again", BigInteger, **NOTHING_YET),
    Column("owner", Text),
    Column("until_us", BigInteger),
    one_of("state", ReconciliationState),
    one_of("service", NEIGHBOURS),
    CheckConstraint("length(id) = 8", name="id"),
    CheckConstraint("length(actor) >= 1", name="actor"),
    CheckConstraint("(state = 'open') = (finished_us IS NULL)", name="finished"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("(owner IS NULL) = (until_us IS NULL)", name="owner"),
    CheckConstraint("repair OR told_again = 0", name="told_again"),
    Index("one_at_a_time", "state", unique=True, **only("state = 'open'")),
    Index("created", "created_us", "id"),
)

# What did not agree, numbered as it was found: a chunk of payments is counted and written in one transaction.
reconciliation_findings = Table(
    "reconciliation_findings",
    metadata,
    Column("reconciliation_id", Text, ForeignKey("reconciliations.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("service", Text, nullable=False),
    Column("target_id", BigInteger, nullable=False),
    Column("payment_id", BigInteger, nullable=False),  # none of its own: `prune` may delete it
    Column("verdict", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("found", Text),
    Column("error", Text),
    one_of("service", NEIGHBOURS),
    one_of("verdict", DISAGREEMENTS),
    one_of("expected", (Status.PENDING, Status.PAID, Status.FAILED)),
    CheckConstraint("number >= 1", name="number"),
)
