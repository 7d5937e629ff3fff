"""A row of each table in which nothing is wrong, to be made wrong in one thing."""

from payment.storage.tables import (
    api_keys,
    bills,
    events,
    idempotency_keys,
    late_money,
    leases,
    notifications,
    payments,
    reconciliation_findings,
    reconciliations,
)

NOW_US = 1_700_000_000_000_000

BILL = {"order_id": 1, "total": 20_000, "paid": 0, "pending": 0}
REFUND = {"payment_id": 1, "amount": 5_000, "refunded_before": 0, "reason": None, "created_us": NOW_US}
LATE = {"payment_id": 1, "amount": 20_000, "came_us": NOW_US}
PAYMENT = {
    "id": 1,
    "order_id": 1,
    "user_id": 1,
    "amount": 20_000,
    "status": "paid",
    "method": "cash",
    "created_us": NOW_US,
    "updated_us": NOW_US,
}
NOTIFICATION = {
    "id": 1,
    "service": "order",
    "target_id": 1,
    "payment_id": 1,
    "state": "waiting",
    "next_attempt_us": NOW_US,
    "created_us": NOW_US,
    "due_since_us": NOW_US,
}
KEY = {
    "caller": "",
    "operation": "create_payment",
    "key": "k",
    "fingerprint": "f",
    "status": 201,
    "location": "/payments/1",
    "body": "{}",
    "created_us": NOW_US,
}
LEASE = {"service": "order", "target_id": 1, "owner": "me", "until_us": NOW_US, "taken_over": False}
API_KEY = {
    "id": "R7mQ2xVb",
    "client": "kasir-1",
    "scopes": "payments:read payments:write",
    "secret_sha256": "0" * 64,
    "created_us": NOW_US,
}
EVENT = {
    "id": 1,
    "types": "payment.created payment.paid",
    "payment_id": 1,
    "actor": "anybody",
    "created_us": NOW_US,
    "data": PAYMENT,
}

RECONCILIATION = {
    "id": "Kx3fT9aB",
    "state": "finished",
    "since_us": 0,
    "repair": False,
    "actor": "anybody",
    "created_us": NOW_US,
    "finished_us": NOW_US,
    "after_us": 0,
}
FINDING = {
    "reconciliation_id": "Kx3fT9aB",
    "number": 1,
    "service": "order",
    "target_id": 1,
    "payment_id": 1,
    "verdict": "differs",
    "expected": "paid",
}

# Each table, a row that is right, and the column that tells it from another.
ROWS = (
    (bills, BILL, "order_id"),
    (payments, PAYMENT, "id"),
    (notifications, NOTIFICATION, "id"),
    (idempotency_keys, KEY, "key"),
    (leases, LEASE, "target_id"),
    (late_money, LATE, "payment_id"),
    (api_keys, API_KEY, "id"),
    (events, EVENT, "id"),
    (reconciliations, RECONCILIATION, "id"),
    (reconciliation_findings, FINDING, "number"),
)
