"""Traces: what the layers know of spans. Who exports none has no tracer, and nothing here costs anything.

OpenTelemetry is in `otel` alone, which is loaded if the settings ask for it (docs/decisions/0016).
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from payment.core.settings import Settings, SettingsError

Attributes = Mapping[str, str | int]
"""What a span says. Never a key, a token, a password, nor what a person wrote or is called."""

NOTHING: Attributes = MappingProxyType({})


class Kind(Enum):
    """On which side of a call a span is."""

    INTERNAL = "within a process"
    SERVER = "a request that came"
    CLIENT = "a call that was made"


class Span(Protocol):
    """A span that has begun. Any thread may end it."""

    @property
    def traceparent(self) -> str:
        """Return its name for all that happens within it, in other processes too (W3C Trace Context)."""
        ...

    @property
    def is_sampled(self) -> bool:
        """Say whether it is exported. If not, it only has a name."""
        ...

    def end(
        self, attributes: Attributes = NOTHING, *, name: str | None = None, error: str | None = None
    ) -> None:
        """End it; once it has ended, nothing happens.

        Args:
            attributes: what it says beside what it said when it began.
            name: what it is called after all.
            error: what kind of thing went wrong (`error.type`), None if nothing did.
        """
        ...


class Tracer(Protocol):
    """Begins spans, and exports them in the background once they have ended."""

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Attributes = NOTHING,
        links: Sequence[str] = (),
    ) -> Span:
        """Begin a span.

        Args:
            name: what it is; few different ones.
            kind: on which side of a call it is.
            parent: the `traceparent` that it happens within; None begins a trace.
            attributes: what it says.
            links: the `traceparent` of other spans that it has to do with.
        """
        ...

    def close(self) -> None:
        """Export what is left, within a limit."""
        ...


def open_tracer(settings: Settings) -> Tracer | None:
    """Return what begins spans, None if the settings ask for none.

    Raises:
        SettingsError: they do, and `payment[otel]` is not installed, or OpenTelemetry refuses its settings.
    """
    if not settings.exports_traces:
        return None
    try:
        from payment.core.otel import OtelTracer  # noqa: PLC0415  # an extra, and slow to load

        return OtelTracer()
    except ImportError:
        said = "asks for traces, as an OTLP endpoint does, but payment[otel] is not installed"
        raise SettingsError({"OTEL_TRACES_EXPORTER": [said]}) from None
    except (ValueError, OSError, RuntimeError) as error:
        said = f"OpenTelemetry refuses one of these: {error}"
        raise SettingsError({"OTEL_*": [said]}) from error
