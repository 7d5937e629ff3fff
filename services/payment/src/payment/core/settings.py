"""Every setting, read once from the environment. Nothing else reads the environment.

A bad setting stops the start with its name. Numbers carry their unit last; see docs/settings.md for the list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from marshmallow.validate import OneOf, Range
from sqlalchemy.engine import URL

from payment.core import setting_rules as rules
from payment.core.business_day import BusinessDays
from payment.core.certificates import key_trouble
from payment.core.environment import YEAR_S, Environment
from payment.core.neighbours import NEIGHBOURS, Neighbour
from payment.core.retry_policy import RetryPolicy

KeysRequired = Literal["none", "split", "all"]
"""Which POSTs have to bring an Idempotency-Key: none, those of a split bill's shares, all that take one."""

DAY_S = 24 * 3600.0
OUR_OPENAPI = (Path(__file__).parents[1] / "openapi.yaml").resolve()


class SettingsError(Exception):
    """One or more settings are wrong; `problems` maps each one's name to what is wrong with it."""

    def __init__(self, problems: Mapping[str, list[str]]) -> None:
        super().__init__("; ".join(f"{name}: {' '.join(said)}" for name, said in problems.items()))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """Where and how a neighbour is told; `path` holds the id's placeholder.

    Attributes:
        ca_file: the CAs that its certificate may come from; None for the public ones.
        client_cert_file: the certificate that we show it; None for none.
        client_key_file: its key; there if and only if the certificate is.
    """

    url: str
    path: str
    token: str | None = field(repr=False)
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    client_key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the service, validated."""

    host: str
    port: int
    reuse_port: bool
    processes: int
    metrics_port: int | None
    auth: str
    allowed_hosts: tuple[str, ...]
    root_path: str
    console: bool
    console_secret: str | None = field(repr=False)
    console_session_s: float
    database_url: URL
    database_listen_url: URL | None
    database_direct_url: URL | None
    neighbours: Mapping[str, NeighbourSettings]
    connect_timeout_s: float
    read_timeout_s: float
    lane_concurrency: int
    poll_interval_s: float
    lease_s: float
    pending_expires_s: float
    resend_after_s: float
    retry: RetryPolicy
    circuit_failures: int
    circuit_probe_max_s: float
    batch_max: int
    book_unread: Literal["auto", "always", "never"]
    require_idempotency_key: KeysRequired
    connections_max: int
    requests_max: int
    arriving_max: int
    streams_max: int
    body_max_bytes: int
    headers_max_bytes: int
    request_timeout_s: float
    write_timeout_s: float
    time_zone: ZoneInfo
    business_day_starts: time
    idempotency_kept_h: int
    notifications_kept_d: int
    events_kept_d: int | None
    payments_kept_d: int | None
    openapi_file: Path
    log_level: str
    log_format: str
    log_requests_max: int
    exports_traces: bool

    @property
    def business_days(self) -> BusinessDays:
        """Return the restaurant's days."""
        return BusinessDays(self.time_zone, self.business_day_starts)


PROCESSES_LIMIT = 64

_PORT = Range(0, 65535, error="must be 0 to 65535")
_PROCESSES = Range(1, PROCESSES_LIMIT, error=f"must be 1 to {PROCESSES_LIMIT}")


def read_settings() -> Settings:
    """Read and validate all settings; `NAME_FILE` may name a file that holds the value of `NAME`.

    Raises:
        SettingsError: names every setting that is wrong.
    """
    env = Environment()
    values = {
        **_address(env),
        **_console(env),
        **_database(env),
        **_neighbours(env),
        **_delivery(env),
        **_limits(env),
        **_kept(env),
        **_logs(env),
        **_traces(env),
    }
    problems: dict[str, list[str]] = {}
    for told in NEIGHBOURS.values():
        problems |= _pair_problems(told.prefix, values["neighbours"][told.name])
    problems |= env.problems()  # what is wrong with one file goes before what is wrong between two
    host = values["host"] or ""
    if values["auth"] == "" and not rules.is_loopback(host):
        said = (
            f"must be said when HOST is not loopback ({host}): AUTH=keys asks callers for an API key, "
            "AUTH=none lets everybody in"
        )
        problems["AUTH"] = [said]
    if not problems and values["notifications_kept_d"] * DAY_S < values["retry"].give_up_after_s:
        # what told in a payment's place may wait that long, and is then what shows that it was told
        problems["NOTIFICATIONS_KEPT_D"] = ["must be at least as long as RETRY_FOR_S"]
    payments_kept_d = values["payments_kept_d"]
    if not problems and payments_kept_d is not None:
        kept_d = max(values["notifications_kept_d"], values["idempotency_kept_h"] / 24)
        if payments_kept_d < kept_d:  # what they refer to
            problems["PAYMENTS_KEPT_D"] = [
                "must be at least as long as IDEMPOTENCY_KEPT_H and NOTIFICATIONS_KEPT_D"
            ]
    if problems:
        raise SettingsError(problems)
    return Settings(**values | {"auth": values["auth"] or "none"})


def _address(env: Environment) -> dict[str, Any]:
    """Read where the API listens, and who may call it."""
    return {
        "host": env.str("HOST", "127.0.0.1"),
        "port": env.int("PORT", 5004, validate=_PORT),
        "reuse_port": env.bool("REUSE_PORT", False),  # environs' default
        "processes": env.int("PROCESSES", 1, validate=_PROCESSES),
        "metrics_port": env.int("METRICS_PORT", None, validate=_PORT),  # a worker's; None: nowhere
        "auth": env.str("AUTH", "", validate=OneOf(["", "none", "keys"], error="must be none or keys")),
        "allowed_hosts": env.parsed("ALLOWED_HOSTS", "", rules.hosts),
        "root_path": env.parsed("ROOT_PATH", "", rules.root_path),
    }


def _console(env: Environment) -> dict[str, Any]:
    """Read whether there is a console, and how long whoever signs in there may go on."""
    return {
        "console": env.bool("CONSOLE", True),  # environs' default
        "console_secret": env.parsed("CONSOLE_SECRET", "", rules.secret_if_any),
        "console_session_s": env.seconds("CONSOLE_SESSION_S", 12 * 3600.0),
    }


def _database(env: Environment) -> dict[str, Any]:
    """Read where the payments are kept."""
    listen_url = env.parsed("DATABASE_LISTEN_URL", "", rules.direct_url_if_any)
    direct_url = env.parsed("DATABASE_DIRECT_URL", "", rules.direct_url_if_any)
    return {
        "database_url": env.parsed("DATABASE_URL", "sqlite:///payment.db", rules.database_url),
        "database_listen_url": listen_url or direct_url,
        "database_direct_url": direct_url,
    }


def _neighbours(env: Environment) -> dict[str, Any]:
    """Read where and how each neighbour is told."""
    # the names that OpenSSL and `requests` know; each has to be right if it is set
    ssl_cert_file = env.parsed("SSL_CERT_FILE", "", rules.certificates_if_any)
    requests_ca_bundle = env.parsed("REQUESTS_CA_BUNDLE", "", rules.certificates_if_any)

    def neighbour(told: Neighbour) -> NeighbourSettings:
        name, is_path = told.prefix, rules.is_path_with(told.placeholder)
        ca_file = env.parsed(f"{name}_SERVICE_CA_FILE", "", rules.certificates_if_any)
        return NeighbourSettings(
            url=env.parsed(f"{name}_SERVICE_URL", told.default_url, rules.service_url),
            path=env.str(f"{name}_PAYMENT_PATH", told.put_path, validate=is_path),
            token=env.parsed(f"{name}_SERVICE_TOKEN", "", rules.token_if_any),
            ca_file=ca_file or ssl_cert_file or requests_ca_bundle,
            client_cert_file=env.parsed(f"{name}_SERVICE_CLIENT_CERT_FILE", "", rules.certificates_if_any),
            client_key_file=env.parsed(f"{name}_SERVICE_CLIENT_KEY_FILE", "", rules.file_if_any),
        )

    return {"neighbours": {told.name: neighbour(told) for told in NEIGHBOURS.values()}}


def _pair_problems(name: str, neighbour: NeighbourSettings) -> dict[str, list[str]]:
    """Say what is wrong between a neighbour's client certificate and its key."""
    cert, key = neighbour.client_cert_file, neighbour.client_key_file
    cert_name, key_name = f"{name}_SERVICE_CLIENT_CERT_FILE", f"{name}_SERVICE_CLIENT_KEY_FILE"
    if cert and key:
        trouble = key_trouble(cert, key)
        return {key_name: [trouble]} if trouble else {}
    if cert:
        return {key_name: [f"is missing beside {cert_name}"]}
    return {cert_name: [f"is missing beside {key_name}"]} if key else {}


def _delivery(env: Environment) -> dict[str, Any]:
    """Read how patiently the neighbours are told."""
    usual = RetryPolicy()
    retry = RetryPolicy(
        wait_initial_s=env.seconds("RETRY_INITIAL_S", usual.wait_initial_s),
        wait_max_s=env.seconds("RETRY_MAX_S", usual.wait_max_s),
        give_up_after_s=env.seconds("RETRY_FOR_S", usual.give_up_after_s),
        unknown_for_s=env.seconds("RETRY_UNKNOWN_FOR_S", usual.unknown_for_s),
    )
    return {
        "retry": retry,
        "connect_timeout_s": env.seconds("CONNECT_TIMEOUT_S", 2.0),
        "read_timeout_s": env.seconds("READ_TIMEOUT_S", 5.0),
        "lane_concurrency": env.int("LANE_CONCURRENCY", 8, validate=Range(1, 256, error="must be 1 to 256")),
        "poll_interval_s": env.seconds("POLL_INTERVAL_S", 0.5),
        "lease_s": env.float("LEASE_S", 30.0, validate=Range(1, YEAR_S, error="must be 1 second to a year")),
        "pending_expires_s": env.seconds("PENDING_EXPIRES_S", DAY_S),
        "resend_after_s": env.seconds("RESEND_AFTER_S", 60.0),
        "circuit_failures": env.count("CIRCUIT_FAILURES", 3),
        "circuit_probe_max_s": env.seconds("CIRCUIT_PROBE_MAX_S", 3.0),
    }


def _limits(env: Environment) -> dict[str, Any]:
    """Read how much is taken at once, and what describes it."""
    return {
        "batch_max": env.count("BATCH_MAX", 64),
        "book_unread": env.str(
            "BOOK_UNREAD",
            "auto",
            validate=OneOf(["auto", "always", "never"], error="must be auto, always or never"),
        ),
        "require_idempotency_key": env.str(
            "REQUIRE_IDEMPOTENCY_KEY",
            "none",
            validate=OneOf(get_args(KeysRequired), error="must be none, split or all"),
        ),
        "connections_max": env.count("CONNECTIONS_MAX", 4096),
        "requests_max": env.count("REQUESTS_MAX", 256),
        "arriving_max": env.count("ARRIVING_MAX", 2048),
        "streams_max": env.count("STREAMS_MAX", 64),
        "body_max_bytes": env.count("BODY_MAX_BYTES", 64 * 1024),
        "headers_max_bytes": env.count("HEADERS_MAX_BYTES", 64 * 1024),
        "request_timeout_s": env.seconds("REQUEST_TIMEOUT_S", 10.0),
        "write_timeout_s": env.seconds("WRITE_TIMEOUT_S", 10.0),
        "openapi_file": env.path("OPENAPI_FILE", OUR_OPENAPI, validate=rules.is_file),
    }


def _kept(env: Environment) -> dict[str, Any]:
    """Read for how long what may be deleted is kept, and when a day of the reports begins."""
    hours = Range(24, 87_840, error="must be 24 hours to ten years")
    days = Range(1, 3_660, error="must be 1 day to ten years")
    long = Range(30, 36_600, error="must be 30 days to a hundred years")
    return {
        "idempotency_kept_h": env.int("IDEMPOTENCY_KEPT_H", 30 * 24, validate=hours),
        "notifications_kept_d": env.int("NOTIFICATIONS_KEPT_D", 90, validate=days),
        "events_kept_d": env.int("EVENTS_KEPT_D", None, validate=days),  # None: for good
        "payments_kept_d": env.int("PAYMENTS_KEPT_D", None, validate=long),  # the same
        "time_zone": env.parsed("TIMEZONE", "Asia/Jakarta", rules.time_zone),
        "business_day_starts": env.parsed("BUSINESS_DAY_STARTS", "00:00", rules.time_of_day),
    }


def _logs(env: Environment) -> dict[str, Any]:
    """Read what is logged, and how; and where a worker shows its metrics."""
    levels = OneOf(["debug", "info", "warning", "error"], error="must be debug, info, warning or error")
    lines = Range(0, 1_000_000, error="must be 0 to 1000000")
    formats = OneOf(["auto", "json", "text"], error="must be auto, json or text")
    return {
        "log_level": env.str("LOG_LEVEL", "info", validate=levels),
        "log_format": env.str("LOG_FORMAT", "auto", validate=formats),
        "log_requests_max": env.int("LOG_REQUESTS_MAX", 100, validate=lines),
    }


def _traces(env: Environment) -> dict[str, Any]:
    """Read whether spans are exported; all else of OTEL_* is for OpenTelemetry itself to read."""
    off = {"exports_traces": False}
    disabled = env.str("OTEL_SDK_DISABLED", "")  # other values than true mean nothing, the standard says
    if disabled.lower() == "true":
        return off
    one_of = OneOf(["", "otlp", "none"], error="must be otlp or none")
    exporter = env.str("OTEL_TRACES_EXPORTER", "", validate=one_of)
    if exporter == "none":
        return off
    # what is said of traces alone goes before what is said of all signals
    endpoint = env.parsed("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", rules.collector_url_if_any)
    endpoint = endpoint or env.parsed("OTEL_EXPORTER_OTLP_ENDPOINT", "", rules.collector_url_if_any)
    if not (exporter or endpoint):
        return off
    only = OneOf(["", "http/protobuf"], error="must be http/protobuf, which collectors take on port 4318")
    if not env.str("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "", validate=only):
        env.str("OTEL_EXPORTER_OTLP_PROTOCOL", "", validate=only)
    return {"exports_traces": True}
