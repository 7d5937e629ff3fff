"""Spans by OpenTelemetry, exported as OTLP over HTTP. The only use of it.

Where to, how many and under which name is said by the standard `OTEL_*` variables, which its SDK reads by
itself. A collector that is away costs spans and nothing else: they wait in a bounded queue, a thread exports
them, and what it complains of is one line a minute in our log.
"""

import logging
import threading
import time
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Span as AnySpan

from payment import __version__
from payment.core.logs import get_logger
from payment.core.tracing import NOTHING, Attributes, Kind

CLOSE_WITHIN_S = 0.8
"""How long a process that ends waits for its last spans; all else may take 9 of the 10 s that it has."""

COMPLAIN_EVERY_S = 60.0

_NOWHERE = Context()  # what is current in a thread or a task means nothing to us: parents are given
_FAILED = Status(StatusCode.ERROR)
_KINDS = {kind: SpanKind[kind.name] for kind in Kind}

_log = get_logger()


class OtelSpan:
    """A span of OpenTelemetry; see `tracing.Span`."""

    __slots__ = ("_span", "is_sampled", "traceparent")

    def __init__(self, span: AnySpan) -> None:
        self._span = span
        context = span.get_span_context()
        self.is_sampled = context.trace_flags.sampled
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(
        self, attributes: Attributes = NOTHING, *, name: str | None = None, error: str | None = None
    ) -> None:
        """See `tracing.Span.end`."""
        span = self._span
        if not span.is_recording():  # not sampled, or ended
            return
        if name is not None:
            span.update_name(name)
        if attributes:
            span.set_attributes(attributes)
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(_FAILED)
        span.end()


class OtelTracer:
    """Spans of OpenTelemetry; see `tracing.Tracer`. Any thread may begin one.

    Raises:
        ValueError: the SDK refuses a value of its environment; other errors of files that it names.
    """

    def __init__(self) -> None:
        _complain_now_and_then()
        ours = Resource({"service.name": "payment", "service.version": __version__})
        self._provider = TracerProvider(
            resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,  # without a limit
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("payment", __version__)

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Attributes = NOTHING,
        links: Sequence[str] = (),
    ) -> OtelSpan:
        """See `tracing.Tracer.begin`."""
        within = _NOWHERE
        if parent is not None:
            context = _context_of(parent, is_remote=kind is not Kind.INTERNAL)
            within = set_span_in_context(NonRecordingSpan(context), _NOWHERE)
        linked = [Link(_context_of(each, is_remote=False)) for each in links]
        return OtelSpan(self._tracer.start_span(name, within, _KINDS[kind], attributes, linked))

    def close(self) -> None:
        """See `tracing.Tracer.close`; the SDK's own limit is half a minute."""
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)


def _context_of(traceparent: str, *, is_remote: bool) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(int(flags, 16)))


class _NowAndThen(logging.Handler):
    """Says in our log what the SDK complains of, at most once in COMPLAIN_EVERY_S.

    Of what its words are about only numbers and types of errors are said: the rest may be a header with a
    token, or an address with a password.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = 0.0  # guarded by the handler's own lock

    def emit(self, record: logging.LogRecord) -> None:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + COMPLAIN_EVERY_S
        about = record.args if isinstance(record.args, tuple) else ()
        said = str(record.msg) % tuple(map(_harmless, about)) if about else str(record.msg)
        _log.warning("spans may be lost", said=said)


def _harmless(value: object) -> object:
    if isinstance(value, BaseException):
        return type(value).__name__
    return value if isinstance(value, int | float) else "…"


def _complain_now_and_then() -> None:
    theirs = logging.getLogger("opentelemetry")
    theirs.handlers = [_NowAndThen()]
    theirs.propagate = False
