"""A worker's metrics, on a port of their own (METRICS_PORT)."""

from prometheus_client import start_http_server

from payment.watching.exposition import Exposition


def serve_metrics(host: str, port: int, exposition: Exposition) -> str:
    """Answer scrapes from now on, in threads; return the URL.

    Raises:
        OSError: the address cannot be had.
    """
    server, _ = start_http_server(port, host, exposition.registry)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}/metrics"
