"""Payments that were made long ago, written straight into a database: told, with their events and keys."""

from sqlalchemy import URL

from bench.databases import execute
from bench.depth import FILL, RETIRED, WALK_IN
from bench.keyed import CLIENT

DAY_US = 86_400_000_000

EVENTS_OF_PAYMENTS = """
INSERT INTO events (types, payment_id, actor, request_id, created_us, data)
SELECT CASE status WHEN 'paid' THEN 'payment.created payment.paid' WHEN 'pending' THEN 'payment.created'
    ELSE 'payment.' || status END, id,
    '{client}/00000000', gen_random_uuid()::text, created_us, row_to_json(payments)
FROM payments ORDER BY id
"""
KEYS_OF_PAYMENTS = """
INSERT INTO idempotency_keys (caller, operation, key, fingerprint, status, location, body, created_us)
SELECT '{client}', 'create_payment', gen_random_uuid()::text, md5(id::text) || md5(amount::text), 201,
    '/payments/' || id, row_to_json(payments)::text, created_us
FROM payments WHERE created_us >= (extract(epoch FROM now()) * 1000000)::bigint - {kept_us} ORDER BY id
"""


def fill(url: URL, payments: int, *, days: int, keys_kept_days: int = 30) -> None:
    """Write so many payments, the oldest of them that many days old, and the keys of the last days."""
    execute(url, FILL.format(rows=payments, span=days * DAY_US, walk_in=WALK_IN, retired=RETIRED))
    execute(url, f"SELECT setval('payments_id_seq', {payments})")
    execute(url, EVENTS_OF_PAYMENTS.format(client=CLIENT))
    execute(url, KEYS_OF_PAYMENTS.format(client=CLIENT, kept_us=keys_kept_days * DAY_US))
    execute(url, "VACUUM ANALYZE")
