"""Flask and psycopg, Order and User told inline: what a first version does.

The bill and the payment are one transaction; then both services are called, and then the guest is
answered. There is no outbox: what Order or User did not hear now, they never hear. Still written with
care: a pool with a connection a thread, a kept-alive `requests` session a thread, time-outs.

    gunicorn bench.peers.flask_inline.app:app --worker-class gthread --threads 16
"""

import os
import threading
from datetime import UTC, datetime
from http import HTTPStatus

import requests
from flask import Flask, abort, jsonify, request
from flask.typing import ResponseReturnValue
from psycopg_pool import ConnectionPool

LARGEST = 2**53 - 1
THREADS = 16
TELL_TIMEOUT_S = (2.0, 5.0)

TABLES = """
CREATE TABLE IF NOT EXISTS bills (
    order_id bigint PRIMARY KEY,
    total bigint NOT NULL,
    paid bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS payments (
    id bigserial PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES bills,
    user_id bigint NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS payments_order ON payments (order_id);
CREATE INDEX IF NOT EXISTS payments_user ON payments (user_id);
"""

INSERT_BILL = """
INSERT INTO bills (order_id, total, paid) VALUES (%(order_id)s, %(amount)s, %(amount)s)
ON CONFLICT DO NOTHING RETURNING order_id
"""

INSERT_PAYMENT = """
INSERT INTO payments (order_id, user_id, amount, status, created_at)
VALUES (%(order_id)s, %(user_id)s, %(amount)s, 'paid', %(now)s) RETURNING id
"""

FIELDS = ("id", "order_id", "user_id", "amount", "status", "created_at")
SELECT_PAYMENT = f"SELECT {', '.join(FIELDS)} FROM payments WHERE id = %s"

ORDER_URL = os.environ["ORDER_SERVICE_URL"]  # noqa: TID251  # own program
USER_URL = os.environ["USER_SERVICE_URL"]  # noqa: TID251  # own program

app = Flask(__name__, static_folder=None)
pool = ConnectionPool(
    os.environ["DATABASE_URL"],  # noqa: TID251  # own program
    min_size=THREADS,
    max_size=THREADS,
    open=True,
)
with pool.connection() as at_start:
    at_start.execute(TABLES)
of_thread = threading.local()


@app.post("/payments")
def pay() -> ResponseReturnValue:
    """Record a payment that settles its order, and tell Order and User."""
    body = request.get_json()
    names = ("order_id", "user_id", "amount")
    if any(type(body.get(name)) is not int or not 1 <= body[name] <= LARGEST for name in names):
        abort(HTTPStatus.BAD_REQUEST)
    values = {name: body[name] for name in names} | {"now": datetime.now(UTC)}
    with pool.connection() as connection:
        if connection.execute(INSERT_BILL, values).fetchone() is None:
            return jsonify(error=f"Pesanan {body['order_id']} sudah lunas"), HTTPStatus.CONFLICT
        row = connection.execute(INSERT_PAYMENT, values).fetchone()
    assert row is not None
    tell(f"{ORDER_URL}/orders/{body['order_id']}/payment", {"payment_status": "paid"})
    tell(f"{USER_URL}/users/{body['user_id']}/payment-service", {"status": "paid"})
    return jsonify(message="Pembayaran diproses", payment_id=row[0]), HTTPStatus.CREATED


@app.get("/payments/<int:payment_id>")
def get_payment(payment_id: int) -> ResponseReturnValue:
    """Read a payment."""
    with pool.connection() as connection:
        row = connection.execute(SELECT_PAYMENT, (payment_id,)).fetchone()
    if row is None:
        return jsonify(error="Pembayaran tidak ditemukan"), HTTPStatus.NOT_FOUND
    return jsonify(dict(zip(FIELDS, row, strict=True)))


def tell(url: str, news: dict[str, str]) -> None:
    """Tell a service; what goes wrong is logged and forgotten."""
    if not hasattr(of_thread, "session"):
        of_thread.session = requests.Session()
        of_thread.session.trust_env = False
    try:
        of_thread.session.put(url, json=news, timeout=TELL_TIMEOUT_S).raise_for_status()
    except requests.RequestException:
        app.logger.exception("could not tell %s", url)
