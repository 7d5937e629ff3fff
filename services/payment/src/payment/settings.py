"""Every setting, read once from the environment. Nothing else reads the environment.

A bad setting stops the start with its name. Numbers carry their unit last; see README for the list.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from string import Formatter
from typing import Any

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError
from marshmallow.validate import OneOf, Range, Regexp
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from payment.retry_policy import RetryPolicy

_ROOT = Path(__file__).resolve().parents[4]


class SettingsError(Exception):
    """One or more settings are wrong; `problems` maps each one's name to what is wrong with it."""

    def __init__(self, problems: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(said)}" for name, said in problems.items()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Where and how a neighbour is told; `path` holds the id's placeholder."""

    url: str
    path: str
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the service, validated."""

    host: str
    port: int
    auth: str
    database_url: URL
    order: Neighbour
    user: Neighbour
    connect_timeout_s: float
    read_timeout_s: float
    lane_concurrency: int
    poll_interval_s: float
    lease_s: float
    resend_after_s: float
    retry: RetryPolicy
    circuit_failures: int
    circuit_probe_max_s: float
    batch_max: int
    requests_max: int
    body_max_bytes: int
    headers_max_bytes: int
    request_timeout_s: float
    openapi_file: Path
    log_level: str
    log_format: str


def _is_path_with(placeholder: str) -> Callable[[str], None]:
    def check(path: str) -> None:
        try:
            fields = [name for _, name, _, _ in Formatter().parse(path) if name is not None]
        except ValueError:
            fields = []
        if not path.startswith("/") or fields != [placeholder]:
            raise ValidationError(f"must start with / and hold {{{placeholder}}} once")

    return check


def _is_database(url: str) -> None:
    try:
        dialect = make_url(url).get_backend_name()
    except ArgumentError:
        raise ValidationError("is not a database URL, for example sqlite:///payment.db") from None
    if dialect not in {"sqlite", "postgresql"}:
        raise ValidationError(f"{dialect} is not supported; use sqlite or postgresql")
    if dialect == "sqlite" and make_url(url).database in (None, "", ":memory:"):
        raise ValidationError("names no file: a payment must survive the process")


def _is_file(path: Path) -> None:
    if not path.is_file():
        raise ValidationError("there is no such file")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings() -> Settings:
    """Read and validate all settings; `NAME_FILE` may name a file that holds the value of `NAME`.

    Raises:
        SettingsError: names every setting that is wrong.
    """
    env = FileAwareEnv(eager=False)
    positive = Range(min=0, min_inclusive=False, error="must be more than 0")
    counts = Range(min=1, error="must be at least 1")
    is_url = Regexp(r"https?://[^\s/?#]+[^\s?#]*$", error="is not an http(s) URL")

    def neighbour(name: str, url: str, path: str, placeholder: str) -> Neighbour:
        path_name = f"{name}_PAYMENT_PATH"
        return Neighbour(
            url=(env.str(f"{name}_SERVICE_URL", url, validate=is_url) or "").rstrip("/"),
            path=env.str(path_name, path, validate=_is_path_with(placeholder)),
            token=env.str(f"{name}_SERVICE_TOKEN", None) or None,
        )

    def seconds(name: str, default: float) -> float:
        return env.float(name, default, validate=positive)

    def count(name: str, default: int) -> int:
        return env.int(name, default, validate=counts)

    host = env.str("HOST", "127.0.0.1")
    auth = env.str("AUTH", "", validate=OneOf(["", "none"], error="must be none"))
    values: dict[str, Any] = {
        "host": host,
        "port": env.int("PORT", 5004, validate=Range(0, 65535, error="must be 0 to 65535")),
        "auth": auth or "none",
        "order": neighbour("ORDER", "http://localhost:5003", "/orders/{order_id}/payment", "order_id"),
        "user": neighbour("USER", "http://localhost:5001", "/users/{user_id}/payment-service", "user_id"),
        "connect_timeout_s": seconds("CONNECT_TIMEOUT_S", 2.0),
        "read_timeout_s": seconds("READ_TIMEOUT_S", 5.0),
        "lane_concurrency": count("LANE_CONCURRENCY", 8),
        "poll_interval_s": seconds("POLL_INTERVAL_S", 0.5),
        "lease_s": seconds("LEASE_S", 30.0),
        "resend_after_s": seconds("RESEND_AFTER_S", 60.0),
        "retry": {
            "wait_initial_s": seconds("RETRY_INITIAL_S", 1.0),
            "wait_max_s": seconds("RETRY_MAX_S", 3600.0),
            "give_up_after_s": seconds("RETRY_FOR_S", 14 * 24 * 3600.0),
            "unknown_for_s": seconds("RETRY_UNKNOWN_FOR_S", 3600.0),
        },
        "circuit_failures": count("CIRCUIT_FAILURES", 3),
        "circuit_probe_max_s": seconds("CIRCUIT_PROBE_MAX_S", 3.0),
        "batch_max": count("BATCH_MAX", 64),
        "requests_max": count("REQUESTS_MAX", 1024),
        "body_max_bytes": count("BODY_MAX_BYTES", 64 * 1024),
        "headers_max_bytes": count("HEADERS_MAX_BYTES", 64 * 1024),
        "request_timeout_s": seconds("REQUEST_TIMEOUT_S", 10.0),
        "openapi_file": env.path("OPENAPI_FILE", _ROOT / "openapi" / "payment.yaml", validate=_is_file),
        "log_level": env.str(
            "LOG_LEVEL",
            "info",
            validate=OneOf(
                ["debug", "info", "warning", "error"],
                error="must be debug, info, warning or error",
            ),
        ),
        "log_format": env.str(
            "LOG_FORMAT",
            "auto",
            validate=OneOf(["auto", "json", "text"], error="must be auto, json or text"),
        ),
    }
    database_url = env.str("DATABASE_URL", "sqlite:///payment.db", validate=_is_database)
    try:
        env.seal()
    except EnvValidationError as error:
        messages: Any = error.error_messages
        raise SettingsError(messages) from None
    if not auth and not _is_loopback(host):
        said = f"must be said when HOST is not loopback ({host}): AUTH=none lets everybody in"
        raise SettingsError({"AUTH": [said]})
    return Settings(
        **(values | {"retry": RetryPolicy(**values["retry"]), "database_url": make_url(database_url)})
    )
