"""All tables, their constraints and their indexes. The invariants live here, not only in Python.

Times are whole microseconds since the epoch (UTC), amounts whole rupiah.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)

from payment.core.neighbours import NEIGHBOURS
from payment.core.states import HAPPEN_TOGETHER, Method, Resolution, State, Status
from payment.storage import reconciliation_tables, schema
from payment.storage.schema import ID, one_of, only

metadata = schema.metadata
reconciliations = reconciliation_tables.reconciliations
reconciliation_findings = reconciliation_tables.reconciliation_findings

# One bill per order: the primary key says so. The check `not_overpaid` is what "charged once" rests on:
# whatever the code does, paid and pending together never pass the total. `paid` is what stands of payments
# that are paid, `refunded` what was given back of these: only a whole refund reopens the bill
# (docs/decisions/0008).
IS_OPEN = text("paid < total AND paid + pending > 0")
"""Of a bill: something is paid or waits, and something is left to pay."""

bills = Table(
    "bills",
    metadata,
    Column("order_id", BigInteger, primary_key=True, autoincrement=False),
    Column("total", BigInteger, nullable=False),
    Column("paid", BigInteger, nullable=False),
    Column("pending", BigInteger, nullable=False),
    Column("refunded", BigInteger, nullable=False, server_default=text("0")),
    CheckConstraint("total >= 1 AND paid >= 0 AND pending >= 0", name="not_negative"),
    CheckConstraint("paid + pending <= total", name="not_overpaid"),
    CheckConstraint("refunded >= 0 AND refunded <= paid", name="not_overrefunded"),
    # most bills are paid at once, and are never in it
    Index("open", "order_id", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
)

# A payment's amount never changes. What its provider calls it is that of one payment of its method: two that
# are paid, pending or given back cannot share it (docs/decisions/0021). Only `prune` deletes, its bill never
# (docs/decisions/0023).
HAS_REFERENCE = text("reference IS NOT NULL AND status <> 'failed'")

payments = Table(
    "payments",
    metadata,
    Column("id", ID, primary_key=True),
    Column("order_id", BigInteger, ForeignKey("bills.order_id"), nullable=False),
    Column("user_id", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("amount_refunded", BigInteger, nullable=False, server_default=text("0")),
    Column("status", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("settled_us", BigInteger),  # when one that waited was settled; null for one paid at once
    Column("reference", Text),  # what its provider calls it
    Column("expires_us", BigInteger),  # null if it did not wait, or was made before 0007
    # its money came late, and nobody has said what became of it: `late_money` has a row that is open
    Column("late", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    CheckConstraint("amount >= 1", name="amount"),
    CheckConstraint("amount_refunded >= 0 AND amount_refunded <= amount", name="not_overrefunded"),
    CheckConstraint("(status = 'refunded') = (amount_refunded = amount)", name="refunded"),
    CheckConstraint("amount_refunded = 0 OR status IN ('paid', 'refunded')", name="only_paid_is_refunded"),
    CheckConstraint("length(reference) BETWEEN 1 AND 64", name="reference"),
    CheckConstraint("expires_us >= created_us", name="expires"),
    CheckConstraint("status = 'failed' OR NOT late", name="late"),
    one_of("status", Status),
    one_of("method", Method),
    Index("order", "order_id"),
    Index("user_newest", "user_id", "id"),  # "the newest payment of this guest" is one look-up
    Index("created", "created_us", "id"),  # lists (docs/decisions/0010), and a day's report
    Index("user", "user_id", "created_us", "id"),
    Index("method", "method", "created_us", "id"),
    # most payments are paid at once: what follows costs them nothing
    Index("not_paid", "status", "created_us", "id", **only("status <> 'paid'")),
    Index("settled", "settled_us", **only("settled_us IS NOT NULL")),
    Index(
        "one_reference",
        "reference",
        "method",
        unique=True,
        sqlite_where=HAS_REFERENCE,
        postgresql_where=HAS_REFERENCE,
    ),
    Index(  # lists: also those that failed
        "reference", "reference", "created_us", "id", **only("reference IS NOT NULL")
    ),
    Index("expires", "expires_us", "created_us", **only("status = 'pending'")),
    Index("late", "late", "created_us", "id", sqlite_where=text("late = 1"), postgresql_where=text("late")),
)

ONE_REFERENCE = "ix_payments_one_reference"

# Money given back. A refund is never changed, and deleted only with its payment, which has what its refunds
# add up to.
# Each says how much was given back before it, and a unique index allows each such amount once for a payment:
# of two refunds that knew nothing of each other, only one can be written. What the provider calls a refund is
# that of one refund of its method.
refunds = Table(
    "refunds",
    metadata,
    Column("id", ID, primary_key=True),
    Column("payment_id", ID, ForeignKey("payments.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("refunded_before", BigInteger, nullable=False),
    Column("reason", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("method", Text),  # its payment's, for the index below; null in those that were made before 0007
    Column("reference", Text),
    CheckConstraint("amount >= 1", name="amount"),
    CheckConstraint("refunded_before >= 0", name="refunded_before"),
    CheckConstraint("length(reference) BETWEEN 1 AND 64", name="reference"),
    CheckConstraint("reference IS NULL OR method IS NOT NULL", name="reference_of_method"),
    Index("one_after_another", "payment_id", "refunded_before", unique=True),
    Index("created", "created_us"),  # a day's refunds are in that day's report
    Index("one_reference", "reference", "method", unique=True, **only("reference IS NOT NULL")),
)

# Money of a payment that came after it had failed, when its bill had no room for it. It counts nowhere; it is
# kept until somebody says what became of it, and for good after that (docs/decisions/0021).
late_money = Table(
    "late_money",
    metadata,
    Column("payment_id", ID, ForeignKey("payments.id"), primary_key=True, autoincrement=False),
    Column("amount", BigInteger, nullable=False),
    Column("came_us", BigInteger, nullable=False),
    Column("resolution", Text),
    Column("reference", Text),
    Column("resolved_us", BigInteger),
    CheckConstraint("amount >= 1", name="amount"),
    CheckConstraint("length(reference) BETWEEN 1 AND 64", name="reference"),
    CheckConstraint("(resolution IS NULL) = (resolved_us IS NULL)", name="resolved"),
    CheckConstraint("resolution IS NOT NULL OR reference IS NULL", name="reference_of_resolution"),
    one_of("resolution", Resolution),
    Index("came", "came_us"),  # what came late on a day is in that day's report
    Index("open", "came_us", **only("resolution IS NULL")),
)

# A key is there exactly if its payment is: both are written in one transaction. That of a request that made
# an API key says where this is; its answer is not kept, as the secret is in it.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("operation", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("location", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Index("created", "created_us"),
)

# "Tell this service about its order or user." Only ever inserted by a payment, so that a guest who is on
# every payment (a walk-in id) is no hot row.
notifications = Table(
    "notifications",
    metadata,
    Column("id", ID, primary_key=True),
    Column("service", Text, nullable=False),
    Column("target_id", BigInteger, nullable=False),
    Column("payment_id", ID, ForeignKey("payments.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("told", Text),  # what the service was told: pending, paid or failed
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_us", BigInteger, nullable=False),
    Column("last_outcome", Text),  # of the last failed attempt, see states.Outcome
    Column("last_error", Text),
    # before this the service does not want to hear of it (Retry-After), even if it is back
    Column("not_before_us", BigInteger),
    # an attempt had no answer, so the service may apply it late: if another is delivered before this time,
    # the newest state is told once more at this time
    Column("resend_us", BigInteger),
    # True if this row only tells the newest state once more after an attempt without an answer
    Column("is_repeat", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
    Column("traceparent", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("due_since_us", BigInteger, nullable=False),  # when the retry policy's patience began
    Column("unknown_since_us", BigInteger),  # since when the service says it does not know the id
    Column("settled_us", BigInteger),
    # how often the end of an outage made it due before its own backoff
    Column("hurried", BigInteger, nullable=False, server_default=text("0")),
    Column("superseded_by", BigInteger),  # the notification that told in its place
    Column("request_id", Text),  # of the request that it tells of
    Column("failures", JSON(none_as_null=True)),  # its last failed attempts, see judgements.failures_after
    one_of("service", NEIGHBOURS),
    one_of("state", State),
    CheckConstraint("(state = 'waiting') = (settled_us IS NULL)", name="settled"),
    Index("due", "service", "next_attempt_us", "id", **only("state = 'waiting'")),
    Index("waiting", "service", "target_id", "id", **only("state = 'waiting'")),
    Index("payment", "payment_id"),
    Index(  # lists of what is not delivered
        "not_delivered", "state", "service", "id", **only("state <> 'delivered'")
    ),
    Index(  # lists and counts of what failed, and why; one that is delivered at once is never in it
        "failed", "last_outcome", "service", "state", "id", **only("last_outcome <> 'delivered'")
    ),
    sqlite_autoincrement=True,
)

# Who is telling this target right now. One row per (service, target) makes one PUT at a time across all
# workers; a row that outlived `until_us` was left by a worker that died.
leases = Table(
    "leases",
    metadata,
    Column("service", Text, primary_key=True),
    Column("target_id", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    # True if it was taken over from a worker whose PUT may still arrive
    Column("taken_over", Boolean(create_constraint=False), nullable=False),
)

# Which routes of the neighbours have been seen to exist: only there is a 404 about the order or user,
# elsewhere the path is wrong (docs/decisions/0011).
known_routes = Table(
    "known_routes",
    metadata,
    Column("route", Text, primary_key=True),  # method, URL and path
    Column("since_us", BigInteger, nullable=False),
)

# An actor is `<client>/<key id>` or `cli:<user>` (core/cause.py): no client can be called like another actor
_CLIENT = "length(client) BETWEEN 1 AND 64 AND replace(replace(client, '/', ''), ':', '') = client"

# Keys of the API. The secret itself is nowhere; a key is never deleted, so that its id is not given twice and
# what its client did can be told for ever.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("client", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # with blanks between them
    Column("secret_sha256", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    Column("revoked_us", BigInteger),
    Column("last_used_us", BigInteger),  # to the minute
    CheckConstraint("length(id) = 8", name="id"),
    CheckConstraint(_CLIENT, name="client"),
    CheckConstraint("length(scopes) >= 1", name="scopes"),
    CheckConstraint("length(secret_sha256) = 64", name="secret_sha256"),
    Index(  # read every second
        "active", "expires_us", **only("revoked_us IS NULL")
    ),
)

# What happened, once each, written in the transaction of the change (docs/decisions/0014). Only `prune`
# deletes. Ids rise in the order in which the changes of a resource happened. Most payments are paid when they
# are made: one row tells of both, as two would cost POST twice as much.
FREQUENT_EVENTS = ("payment.created payment.paid", "payment.created", "payment.paid")
RARE_EVENTS = text(" AND ".join(f"types <> '{types}'" for types in FREQUENT_EVENTS))

events = Table(
    "events",
    metadata,
    Column("id", ID, primary_key=True),
    Column("types", Text, nullable=False),  # with a blank between two
    Column("payment_id", ID),  # the payment whose story it belongs to, if it is one's
    Column("actor", Text, nullable=False),
    Column("request_id", Text),
    Column("traceparent", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("data", JSON(none_as_null=True), nullable=False),  # the resource's row after the change
    one_of("types", map(" ".join, HAPPEN_TOGETHER)),
    CheckConstraint("length(actor) >= 1", name="actor"),
    Index("payment", "payment_id", "id", **only("payment_id IS NOT NULL")),
    # of what every payment has, the next one is never far
    Index("rare", "types", "id", sqlite_where=RARE_EVENTS, postgresql_where=RARE_EVENTS),
    sqlite_autoincrement=True,
)

BEGINS_WITH_ROWS = "begins with rows"
"""In a table's `info`: a migration writes its first rows, so that it has some before there are payments."""

# Since when events are kept: there is one row.
event_log = Table(
    "event_log",
    metadata,
    Column("begins_us", BigInteger, primary_key=True, autoincrement=False),
    info={BEGINS_WITH_ROWS: True},
)

# Since when payments are kept: there is a row once some were deleted.
payment_log = Table(
    "payment_log",
    metadata,
    Column("begins_us", BigInteger, primary_key=True, autoincrement=False),
)
