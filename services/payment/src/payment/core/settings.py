"""Every setting, read once from the environment. Nothing else reads the environment.

A bad setting stops the start with its name. Numbers carry their unit last; see README for the list.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from environs import EnvValidationError, FileAwareEnv
from marshmallow import ValidationError
from marshmallow.validate import OneOf, Range
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from payment.core.certificates import holds_certificates, key_trouble
from payment.core.neighbours import NEIGHBOURS, Neighbour
from payment.core.retry_policy import RetryPolicy

DRIVERS = ("sqlite", "postgresql", "postgresql+psycopg")
OTHER_NAMES = {"postgres": "postgresql"}
"""Schemes that mean the same: what most hosting services hand out."""

YEAR_S = 366 * 24 * 3600.0
DAY_S = 24 * 3600.0
ANY_HOST = "*"
_ROOT = Path(__file__).resolve().parents[5]


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
    auth: str
    allowed_hosts: tuple[str, ...]
    database_url: URL
    database_listen_url: URL | None
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
    requests_max: int
    body_max_bytes: int
    headers_max_bytes: int
    request_timeout_s: float
    time_zone: ZoneInfo
    idempotency_kept_h: int
    notifications_kept_d: int
    openapi_file: Path
    log_level: str
    log_format: str


class _Env(FileAwareEnv):
    """Notes the files that cannot be read beside all other problems, instead of ending at the first."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.unreadable: dict[str, list[str]] = {}

    def _get_value(self, env_key: str, default: Any) -> Any:
        try:
            return super()._get_value(env_key, default)
        except ValueError:
            self.unreadable[f"{env_key}_FILE"] = ["names no file of text that can be read"]
            return default


def _is_path_with(placeholder: str) -> Callable[[str], None]:
    def check(path: str) -> None:
        before, found, after = path.partition(f"{{{placeholder}}}")
        if not (path.startswith("/") and found) or re.search(r"[{}?#\s]", before + after):
            raise ValidationError(f"must start with / and hold {{{placeholder}}} once")

    return check


def _is_service_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # half an IPv6 address, a port beyond 65535
        is_one = False
    if not is_one or re.search(r"[{}?#\s]", url):
        raise ValidationError("is not an http(s) URL")


def _is_token(token: str | None) -> None:
    if token and not re.fullmatch(r"[!-~]+", token):
        raise ValidationError("must be visible ASCII characters")


def _database_url(url: str) -> URL:
    parsed = make_url(url)
    return parsed.set(drivername=OTHER_NAMES.get(parsed.drivername, parsed.drivername))


def _is_listen_url(url: str | None) -> None:
    if url:
        _is_database(url)
        if _database_url(url).get_backend_name() != "postgresql":
            raise ValidationError("is where PostgreSQL is without its pooler; SQLite has none")


def _is_database(url: str) -> None:
    try:
        parsed = _database_url(url)
    except (ArgumentError, ValueError):
        raise ValidationError("is not a database URL, for example sqlite:///payment.db") from None
    if parsed.drivername not in DRIVERS:
        raise ValidationError(f"{parsed.drivername} is not supported; use sqlite or postgresql")
    if parsed.drivername == "sqlite":
        if parsed.host:
            raise ValidationError("names a host; a path begins after three slashes: sqlite:///payment.db")
        file = parsed.database or ":memory:"
        if ":memory:" in file or "mode=memory" in url:
            raise ValidationError("names no file: a payment must survive the process")
        if parsed.query.get("mode") == "ro" or "immutable" in parsed.query:
            raise ValidationError("names a file that may only be read: a payment must be written")


def _is_time_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such name; no name at all; a folder of names
        raise ValidationError("is not an IANA time zone, for example Asia/Jakarta") from None


def _is_file(path: Path) -> None:
    if not path.is_file():
        raise ValidationError("there is no such file")


def _hosts_in(text: str) -> tuple[str, ...]:
    return tuple(host for each in text.split(",") if (host := each.strip()))


def _are_hosts(text: str) -> None:
    for host in _hosts_in(text):
        if not (host == ANY_HOST or re.fullmatch(r"[A-Za-z0-9._-]+", host) or _is_ipv6(host)):
            raise ValidationError(
                f"must be names or addresses without scheme and port, or {ANY_HOST}: not {host}"
            )


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(re.sub(r"^\[(.*)\]$", r"\1", host)).version == 6  # noqa: PLR2004
    except ValueError:
        return False


def _is_file_if_any(file: str) -> None:
    if file:
        _is_file(Path(file))


def _is_pem_if_any(file: str) -> None:
    if file:
        _is_file(Path(file))
        holds_certificates(Path(file))


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
    env = _Env(eager=False, strip_whitespace=True)
    positive = Range(min=0, min_inclusive=False, max=YEAR_S, error="must be more than 0 and at most a year")
    counts = Range(min=1, error="must be at least 1")

    def neighbour(told: Neighbour) -> NeighbourSettings:
        name, has_id = told.prefix, _is_path_with(told.placeholder)
        return NeighbourSettings(
            url=(env.str(f"{name}_SERVICE_URL", told.default_url, validate=_is_service_url) or "").rstrip(
                "/"
            ),
            path=env.str(f"{name}_PAYMENT_PATH", told.put_path, validate=has_id),
            token=env.str(f"{name}_SERVICE_TOKEN", None, validate=_is_token) or None,
            ca_file=pem(f"{name}_SERVICE_CA_FILE") or any_ca_file,
            client_cert_file=pem(f"{name}_SERVICE_CLIENT_CERT_FILE"),
            client_key_file=pem(f"{name}_SERVICE_CLIENT_KEY_FILE", _is_file_if_any),
        )

    def pem(name: str, check: Callable[[str], None] = _is_pem_if_any) -> Path | None:
        file = env.str(name, "", validate=check)
        return Path(file) if file else None

    def seconds(name: str, default: float) -> float:
        return env.float(name, default, validate=positive)

    def count(name: str, default: int) -> int:
        return env.int(name, default, validate=counts)

    # the names that OpenSSL and `requests` know; each has to be right if it is set
    ssl_cert_file, requests_ca_bundle = pem("SSL_CERT_FILE"), pem("REQUESTS_CA_BUNDLE")
    any_ca_file = ssl_cert_file or requests_ca_bundle
    host = env.str("HOST", "127.0.0.1")
    auth = env.str("AUTH", "", validate=OneOf(["", "none"], error="must be none"))
    values: dict[str, Any] = {
        "host": host,
        "port": env.int("PORT", 5004, validate=Range(0, 65535, error="must be 0 to 65535")),
        "reuse_port": env.bool("REUSE_PORT", False),  # environs' default
        "auth": auth or "none",
        "allowed_hosts": _hosts_in(env.str("ALLOWED_HOSTS", "", validate=_are_hosts) or ""),
        "neighbours": {told.name: neighbour(told) for told in NEIGHBOURS.values()},
        "connect_timeout_s": seconds("CONNECT_TIMEOUT_S", 2.0),
        "read_timeout_s": seconds("READ_TIMEOUT_S", 5.0),
        "lane_concurrency": env.int("LANE_CONCURRENCY", 8, validate=Range(1, 256, error="must be 1 to 256")),
        "poll_interval_s": seconds("POLL_INTERVAL_S", 0.5),
        "lease_s": env.float("LEASE_S", 30.0, validate=Range(1, YEAR_S, error="must be 1 second to a year")),
        "pending_expires_s": seconds("PENDING_EXPIRES_S", 24 * 3600.0),
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
        "idempotency_kept_h": env.int(
            "IDEMPOTENCY_KEPT_H", 30 * 24, validate=Range(24, 87_840, error="must be 24 hours to ten years")
        ),
        "notifications_kept_d": env.int(
            "NOTIFICATIONS_KEPT_D", 90, validate=Range(1, 3_660, error="must be 1 day to ten years")
        ),
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
    time_zone = env.str("TIMEZONE", "Asia/Jakarta", validate=_is_time_zone)
    database_url = env.str("DATABASE_URL", "sqlite:///payment.db", validate=_is_database)
    listen_url = env.str("DATABASE_LISTEN_URL", None, validate=_is_listen_url)
    problems: dict[str, Any] = dict(env.unreadable)
    for told in NEIGHBOURS.values():  # what is wrong with one file goes before what is wrong between two
        problems |= _pair_problems(told.prefix, values["neighbours"][told.name])
    try:
        env.seal()
    except EnvValidationError as error:
        problems.update(error.error_messages)  # type: ignore[arg-type]  # deferred errors are a mapping
    if auth == "" and not _is_loopback(host or ""):
        said = f"must be said when HOST is not loopback ({host}): AUTH=none lets everybody in"
        problems["AUTH"] = [said]
    if not problems and values["notifications_kept_d"] * DAY_S < values["retry"]["give_up_after_s"]:
        # what told in a payment's place may wait that long, and is then what shows that it was told
        problems["NOTIFICATIONS_KEPT_D"] = ["must be at least as long as RETRY_FOR_S"]
    if problems:
        raise SettingsError(problems)
    return Settings(
        **(
            values
            | {
                "retry": RetryPolicy(**values["retry"]),
                "time_zone": ZoneInfo(time_zone),
                "database_url": _database_url(database_url),
                "database_listen_url": _database_url(listen_url) if listen_url else None,
            }
        )
    )
