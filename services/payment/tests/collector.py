"""A collector of traces: a real receiver of OTLP over HTTP that keeps the spans it gets."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PROTOBUF = "application/x-protobuf"


@dataclass(frozen=True)
class Span:
    """A span as it arrived; ids in hex, `parent` empty if it has none; links by the ids of their spans."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    began_ns: int
    ended_ns: int
    failed: bool
    facts: Mapping[str, Any]
    links: tuple[str, ...]
    resource: Mapping[str, Any]

    @property
    def traceparent(self) -> str:
        """Return its name as a header has it."""
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    """Receives `POST /v1/traces`.

    Args:
        host: the address that it listens on.

    Attributes:
        url: what OTEL_EXPORTER_OTLP_ENDPOINT is to be.
        bodies: all that came, undecoded. The server's threads write it, the tests read it.
        headers: those of the last request.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.bodies: list[bytes] = []
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:  # http.server calls it
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_right = self.path == "/v1/traces" and self.headers["Content-Type"] == PROTOBUF
                if is_right:
                    collector.headers = {name.lower(): value for name, value in self.headers.items()}
                    collector.bodies.append(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if is_right else 404)
                self.send_header("Content-Type", PROTOBUF)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def spans(self) -> list[Span]:
        """Return the spans that came, by the time they began."""
        found = []
        for body in list(self.bodies):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _facts(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    found += [_span(span, resource) for span in of_scope.spans]
        return sorted(found, key=lambda span: span.began_ns)

    def close(self) -> None:
        """End it; its port refuses connections from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _span(span: WireSpan, resource: Mapping[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        facts=_facts(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
        resource=resource,
    )


def _facts(attributes: Any) -> dict[str, Any]:
    def value(fact: KeyValue) -> Any:
        kind = fact.value.WhichOneof("value")
        return getattr(fact.value, kind) if kind else None

    return {fact.key: value(fact) for fact in attributes}
