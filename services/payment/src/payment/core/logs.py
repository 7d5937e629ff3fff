"""Logs: one JSON object a line in a pipe, readable lines on a terminal. No secret ever stands in one."""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import orjson
import structlog


def configure_logs(level: str, log_format: str, process: str | None = None) -> None:
    """Send all logs, the libraries' too, to stderr.

    Args:
        level: debug, info, warning or error.
        log_format: json, text, or auto (text on a terminal, json elsewhere).
        process: which of several processes with one log this is; None if it is alone.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        *([_said_by(process)] if process else []),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=_without_values)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(as_json)]
    )
    structlog.configure(  # past the standard library's loggers, which take as long again for a line
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "connexion", "alembic", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # a header that is none of HTTP's: the answer counts without it, and a traceback helps nobody
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)


class Lines:
    """Writes the lines of our loggers. One that cannot be written stops nothing that it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line."""
        try:
            self._stream.write(f"{line}\n")  # at once, as other threads write too
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads the pipe, or it is closed
            return

    debug = info = warning = error = critical = msg


def as_json(event: Any, default: Callable[[Any], Any]) -> str:
    """Return JSON text, also of what orjson refuses: whole numbers beyond 64 bits, half of a character."""
    try:
        return orjson.dumps(event, default).decode()
    except TypeError:
        return json.dumps(event, default=default)


def _said_by(process: str) -> structlog.typing.Processor:
    def say(
        _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return say


# a traceback with the values of variables would show keys and what guests wrote
_without_values = structlog.dev.RichTracebackFormatter(show_locals=False)


def get_logger(**fields: Any) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines carry these fields."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def facts_of(error: BaseException) -> Mapping[str, str]:
    """Return what a log line says of an error that was handled: its type and its first line."""
    return {"error_type": type(error).__name__, "error": str(error).partition("\n")[0]}
