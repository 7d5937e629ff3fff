"""A service written by others (`foreign`) that is not open: behind TLS, a token, a path of its own.

    python guarded.py order|user DATABASE [PATH]

Settings, all optional: TOKEN, which every request must bring; READ_TOKEN, which is good for GET alone;
SERVER_PEM, its certificate with the key; CLIENT_CA_PEM, who must have signed the client's; BASE, the path
that it stands under.
"""

import os
import sqlite3
import ssl
import sys

from flask import Response, abort, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import run_simple

import foreign


def tls() -> ssl.SSLContext | None:
    """Return how it speaks TLS, None if it does not."""
    if "SERVER_PEM" not in os.environ:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["SERVER_PEM"])
    if "CLIENT_CA_PEM" in os.environ:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(os.environ["CLIENT_CA_PEM"])
    return context


if __name__ == "__main__":
    kind, file = sys.argv[1:3]
    put_path = sys.argv[3] if len(sys.argv) > 3 else "/users/<int:user_id>/payment-service"
    opened = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    service = foreign.order_service(opened) if kind == "order" else foreign.user_service(opened, put_path)
    given = {name: f"Bearer {os.environ[name]}" for name in ("TOKEN", "READ_TOKEN") if name in os.environ}

    @service.before_request
    def check() -> None:
        """Refuse who brings no token, or one that is not good for this."""
        brought = request.headers.get("Authorization")
        if given and brought not in given.values():
            abort(401)
        if given and brought != given.get("TOKEN") and request.method != "GET":
            abort(403)

    app = DispatcherMiddleware(Response("nothing here", 404), {os.environ.get("BASE", ""): service})
    run_simple("127.0.0.1", 0, app, ssl_context=tls())
