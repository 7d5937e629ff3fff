"""Order and User as another team would write them from the facts: plain Flask, SQLite, generated ids.

    python foreign.py order|user PORT DATABASE [PATH]

Not our stubs, and nothing of theirs: what verification must cope with unmodified.
"""

import sqlite3
import sys
from typing import Any

from flask import Flask, jsonify, request

STATUSES = ("pending", "paid", "failed")
Answer = Any


def order_service(database: sqlite3.Connection) -> Flask:
    """Return an Order service: it looks for the order first, then at the status."""
    app = Flask("order")
    database.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INT, total REAL, status TEXT)"
    )
    database.execute("INSERT INTO sqlite_sequence VALUES ('orders', 4711)")  # ids start anywhere

    def show(order_id: int, code: int = 200) -> Answer:
        row = database.execute(
            "SELECT id, user_id, total, status FROM orders WHERE id=?", [order_id]
        ).fetchone()
        if row is None:
            return jsonify(error="Pesanan tidak ditemukan"), 404
        order = dict(zip(("id", "user_id", "total_price", "status"), row, strict=True))
        return jsonify(**order, items=[], created_at="2026-01-31T12:00:00"), code

    @app.post("/orders")
    def create() -> Answer:
        asked = request.get_json()
        if not asked.get("user_id") or not asked.get("menu_ids"):
            return jsonify(error="user_id dan menu_ids wajib diisi"), 400
        order_id = database.execute(
            "INSERT INTO orders (user_id, total, status) VALUES (?, 20000.0, 'pending')", [asked["user_id"]]
        ).lastrowid
        return show(int(order_id or 0), 201)

    @app.get("/orders/<int:order_id>")
    def read(order_id: int) -> Answer:
        return show(order_id)

    @app.put("/orders/<int:order_id>/payment")
    def tell(order_id: int) -> Answer:
        if show(order_id)[1] == 404:
            return show(order_id)
        status = request.get_json().get("payment_status")
        if status not in STATUSES:
            return jsonify(error="payment_status tidak valid"), 400
        database.execute("UPDATE orders SET status=? WHERE id=?", [status, order_id])
        return show(order_id)

    return app


def user_service(database: sqlite3.Connection, path: str) -> Flask:
    """Return a User service: it looks at the status first, then for the user."""
    app = Flask("user")
    database.execute(
        "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, phone TEXT UNIQUE, status TEXT)"
    )
    database.execute("INSERT INTO sqlite_sequence VALUES ('users', 815)")

    def show(user_id: int, code: int = 200) -> Answer:
        row = database.execute("SELECT id, name, phone, status FROM users WHERE id=?", [user_id]).fetchone()
        if row is None:
            return jsonify(error="User tidak ditemukan"), 404
        return jsonify(dict(zip(("id", "name", "phone", "payment_status"), row, strict=True))), code

    @app.post("/users")
    def create() -> Answer:
        asked = request.get_json()
        user_id = database.execute(
            "INSERT INTO users (name, phone, status) VALUES (?, ?, 'pending')",
            [asked["name"], asked["phone"]],
        ).lastrowid
        return show(int(user_id or 0), 201)

    @app.get("/users/<int:user_id>")
    def read(user_id: int) -> Answer:
        shown = show(user_id)
        return (jsonify(message="Pengguna tidak ditemukan"), 404) if shown[1] == 404 else shown

    @app.put(path)
    def tell(user_id: int) -> Answer:
        status = request.get_json().get("status")
        if status not in STATUSES:
            return jsonify(error="status tidak valid"), 400
        database.execute("UPDATE users SET status=? WHERE id=?", [status, user_id])
        return show(user_id)

    return app


if __name__ == "__main__":
    kind, port, file = sys.argv[1:4]
    opened = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    put_path = sys.argv[4] if len(sys.argv) > 4 else "/users/<int:user_id>/payment-service"
    service = order_service(opened) if kind == "order" else user_service(opened, put_path)
    service.run(port=int(port), threaded=False)
