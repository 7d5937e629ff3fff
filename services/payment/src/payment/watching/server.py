"""A worker's metrics and its health, on a port of their own (METRICS_PORT)."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import start_http_server

from payment.watching.exposition import Exposition


def serve_metrics(host: str, port: int, exposition: Exposition, stuck: Callable[[], Sequence[str]]) -> str:
    """Answer scrapes, and who asks for `/healthz`, from now on, in threads; return the URL of the metrics.

    Args:
        host: the address to listen on.
        port: likewise; 0 takes a free one.
        exposition: what is scraped.
        stuck: returns the neighbours whom nobody tells, because their lanes do not turn.

    Raises:
        OSError: the address cannot be had.
    """
    server, _ = start_http_server(port, host, exposition.registry)
    scraped: Any = server.get_app()

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            answered: Iterable[bytes] = scraped(environ, start_response)
            return answered
        hang = list(stuck())
        status = "503 Service Unavailable" if hang else "200 OK"
        start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
        return [json.dumps({"status": "stuck", "lanes": hang} if hang else {"status": "ok"}).encode()]

    server.set_app(answer)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
