"""A stand-in for the Order service: what Payment relies on, and switches that make it misbehave.

Run `python app.py`. README.md has its settings and a tour, ../README.md the switches.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flask import Flask, Response

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `stub` is, which both stubs share

from stub.memory import Memory
from stub.server import serve
from stub.service import Stub
from stub.settings import int_setting, states_file_setting, token_setting

MENU: tuple[dict[str, object], ...] = (
    {"menu_id": 1, "name": "Nasi goreng", "price": 20000.0, "quantity": 1},
    {"menu_id": 2, "name": "Sate ayam", "price": 30000.0, "quantity": 1},
    {"menu_id": 3, "name": "Gado-gado", "price": 18000.0, "quantity": 1},
)
TOTALS = (20000.0, 50000.0, 68000.0)
FIRST_CREATED_AT = datetime(2024, 1, 1, tzinfo=UTC)


def order(order_id: int, status: str) -> dict[str, object]:
    """The order of this id, always the same but for its status."""
    size = (order_id - 1) % len(MENU)
    created_at = FIRST_CREATED_AT + timedelta(minutes=order_id)
    return {
        "id": order_id,
        "user_id": (order_id - 1) % 20 + 1,
        "items": MENU[: size + 1],
        "total_price": TOTALS[size],
        "status": status,
        "created_at": created_at.isoformat().replace("+00:00", "Z"),
    }


def create_app(count: int, token: str, memory: Memory) -> Flask:
    """The stub with the orders 1 to `count`; `token` is demanded of every caller, "" for none."""
    stub = Stub(count, "Pesanan tidak ditemukan", order, token, memory)
    app = Flask(__name__, static_folder=None)
    stub.add_routes(app)

    @app.get("/orders/<int:order_id>")
    def get_order(order_id: int) -> Response:
        return stub.get(order_id)

    @app.put("/orders/<int:order_id>/payment")
    def put_order_payment(order_id: int) -> Response:
        return stub.put(order_id, "payment_status")

    return app


if __name__ == "__main__":
    count = int_setting("ORDER_COUNT", 20, low=0, high=10**9)
    serve(create_app(count, token_setting(), Memory(states_file_setting())), "order", 5003)
