"""A stand-in for the User service: what Payment relies on, and switches that make it misbehave.

Run `python app.py`. README.md has its settings and a tour, ../README.md the switches.
"""

import sys
from pathlib import Path

from flask import Flask, Response

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `stub` is, which both stubs share

from stub.memory import Memory
from stub.server import serve
from stub.service import Stub
from stub.settings import int_setting, refuse_to_start, setting, states_file_setting, token_setting

NAMES = ("Ayu Lestari", "Budi Santoso", "Citra Dewi", "Dimas Pratama", "Eka Putri")
PAYMENT_PATH = "/users/<int:id>/payment-service"


def user(user_id: int, status: str) -> dict[str, object]:
    """The user of this id, always the same but for the payment status."""
    return {
        "id": user_id,
        "name": NAMES[(user_id - 1) % len(NAMES)],
        "phone": f"0812{user_id:08d}",
        "payment_status": status,
    }


def create_app(count: int, payment_path: str, token: str, memory: Memory) -> Flask:
    """The stub with the users 1 to `count`.

    `payment_path` is a Flask rule with <int:id> in it; `token` is demanded of every caller, "" for none.
    """
    stub = Stub(count, "Pengguna tidak ditemukan", user, token, memory)
    app = Flask(__name__, static_folder=None)
    stub.add_routes(app)

    @app.get("/users/<int:user_id>")
    def get_user(user_id: int) -> Response:
        return stub.get(
            user_id, unknown={"message": "Pengguna tidak ditemukan"}
        )  # in this member here, as the real one

    @app.put(payment_path)
    def put_user_payment(id: int) -> Response:  # noqa: A002 - the name in PAYMENT_PATH
        return stub.put(id, "status")

    return app


def payment_path_setting() -> str:
    """PAYMENT_PATH, a Flask rule with <int:id> in it; nothing else starts."""
    path = setting("PAYMENT_PATH", PAYMENT_PATH)
    if not path.startswith("/") or path.count("<") != 1 or "/<int:id>" not in path:
        refuse_to_start(f"PAYMENT_PATH must be like {PAYMENT_PATH}, not {path!r}")
    return path


if __name__ == "__main__":
    count = int_setting("USER_COUNT", 20, low=0, high=10**9)
    memory = Memory(states_file_setting())
    serve(create_app(count, payment_path_setting(), token_setting(), memory), "user", 5001)
