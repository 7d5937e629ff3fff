"""What the text of a setting must be: each function returns what it means, or says why it is wrong.

Every function here raises marshmallow's ValidationError, whose words come after the setting's name.
"""

import re
from collections.abc import Callable, Collection
from datetime import time
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from marshmallow import ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from payment.core.certificates import holds_certificates

DRIVERS = ("sqlite", "postgresql", "postgresql+psycopg")
OTHER_NAMES = {"postgres": "postgresql"}
"""Schemes that mean the same: what most hosting services hand out."""

NOT_ESCAPED = (
    "holds an @ that stands in no user's name or password before the host; within them write %40 for @, "
    "and %2F %3F %23 %3A for / ? # :"
)
"""None of the text is shown: a part of the password would be taken for the host, which errors name."""

_USER_AND_PASSWORD = re.compile(r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?")
"""How a database's URL begins, as SQLAlchemy reads it: a password ends at the first @."""

SQLITE_PARAMETERS = ("uri", "mode", "cache", "immutable", "modeof", "nolock", "psow", "vfs")
"""What SQLite reads in the name of a file, and what says that it is to."""

ANY_HOST = "*"
IPV6 = 6


def is_path_with(placeholder: str) -> Callable[[str], None]:
    """Return the rule of a path that holds an id's placeholder once."""

    def check(path: str) -> None:
        before, found, after = path.partition(f"{{{placeholder}}}")
        if not (path.startswith("/") and found) or re.search(r"[{}?#\s]", before + after):
            raise ValidationError(f"must start with / and hold {{{placeholder}}} once")

    return check


def service_url(text: str) -> str:
    """Return a neighbour's URL, without a slash at its end."""
    if not _is_http_url(text) or re.search(r"[{}?#\s]", text):
        raise ValidationError("is not an http(s) URL")
    if "@" in text:  # it would take the token's place, and stand in logs and tables
        raise ValidationError(
            "holds a user or a password; a token is given by itself. In a path write %40 for @"
        )
    return text.rstrip("/")


def collector_url_if_any(text: str) -> str | None:
    """Return the URL of an OTLP collector; it may hold a user and a password."""
    if text and not _is_http_url(text):
        raise ValidationError("is not an http(s) URL")
    if "@" in text.partition("@")[2] or ("@" in text and "@" not in urlsplit(text).netloc):
        raise ValidationError(NOT_ESCAPED)
    return text or None


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # half an IPv6 address, a port beyond 65535
        return False


def token_if_any(text: str) -> str | None:
    """Return a token that can stand in a header."""
    if text and not re.fullmatch(r"[!-~]+", text):
        raise ValidationError("must be visible ASCII characters")
    return text or None


SECRET_MIN_CHARS = 32


def secret_if_any(text: str) -> str | None:
    """Return a secret that nobody guesses."""
    if text and len(text) < SECRET_MIN_CHARS:
        raise ValidationError(f"must have at least {SECRET_MIN_CHARS} characters, drawn at random")
    return text or None


def database_url(text: str) -> URL:
    """Return the URL of a database that keeps payments."""
    begin = _USER_AND_PASSWORD.match(text)
    if begin and not text.startswith("sqlite") and "@" in text[begin.end() :]:
        raise ValidationError(NOT_ESCAPED)
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        raise ValidationError("is not a database URL, for example sqlite:///payment.db") from None
    parsed = parsed.set(drivername=OTHER_NAMES.get(parsed.drivername, parsed.drivername))
    if parsed.drivername not in DRIVERS:
        raise ValidationError(f"{parsed.drivername} is not supported; use sqlite or postgresql")
    if parsed.drivername == "sqlite":
        _check_sqlite(parsed, text)
    else:
        from psycopg import pq  # noqa: PLC0415  # SQLite needs none of it

        known = {each.keyword.decode() for each in pq.Conninfo.get_defaults()}
        _check_parameters(parsed, text, known, "which is no parameter of PostgreSQL's connections")
    return parsed


def _check_parameters(url: URL, text: str, known: Collection[str], trouble: str) -> None:
    """Refuse what stands after the question mark and would be dropped, or fail once we connect."""
    _, _, query = text.rpartition("@")[2].partition("?")
    bare = [each for each in query.split("&") if each and "=" not in each]
    for name in (*bare, *sorted(url.query)):
        if name in bare or name not in known:
            raise ValidationError(f"has {name} after the question mark, {trouble}")


def _check_sqlite(url: URL, text: str) -> None:
    if url.host:
        raise ValidationError("names a host; a path begins after three slashes: sqlite:///payment.db")
    file = url.database or ":memory:"
    if ":memory:" in file or "mode=memory" in text:
        raise ValidationError("names no file: a payment must survive the process")
    known = SQLITE_PARAMETERS if "uri" in url.query else ()
    trouble = "which only file:…?uri=true takes; a mark in the file's name is %3F"
    _check_parameters(url, text, known, trouble)
    if url.query.get("mode") == "ro" or "immutable" in url.query:
        raise ValidationError("names a file that may only be read: a payment must be written")


def direct_url_if_any(text: str) -> URL | None:
    """Return the URL at which PostgreSQL is without its pooler."""
    url = database_url(text) if text else None
    if url and url.get_backend_name() != "postgresql":
        raise ValidationError("is where PostgreSQL is without its pooler; SQLite has none")
    return url


def time_zone(name: str) -> ZoneInfo:
    """Return a time zone."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # no such name; no name at all; a folder of names
        raise ValidationError("is not an IANA time zone, for example Asia/Jakarta") from None


def time_of_day(text: str) -> time:
    """Return what clocks show, to the minute."""
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text, re.ASCII):
        raise ValidationError("must be a time of day from 00:00 to 23:59, for example 04:00")
    return time.fromisoformat(text)


def hosts(text: str) -> tuple[str, ...]:
    """Return names and addresses that stand with commas between them."""
    found = tuple(host for each in text.split(",") if (host := each.strip()))
    for host in found:
        if not (host == ANY_HOST or re.fullmatch(r"[A-Za-z0-9._-]+", host) or _is_ipv6(host)):
            raise ValidationError(
                f"must be names or addresses without scheme and port, or {ANY_HOST}: not {host}"
            )
    return found


def _is_ipv6(host: str) -> bool:
    try:
        return ip_address(re.sub(r"^\[(.*)\]$", r"\1", host)).version == IPV6
    except ValueError:
        return False


def root_path(text: str) -> str:
    """Return the path at which a proxy shows us, without a slash at its end; empty for the root."""
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValidationError("must be a path such as /pay: letters, digits and . _ ~ - between slashes")
    return path


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_file(path: Path) -> None:
    """Let the path of a file pass."""
    if not path.is_file():
        raise ValidationError("there is no such file")


def file_if_any(text: str) -> Path | None:
    """Return the path of a file that is there."""
    if not text:
        return None
    is_file(Path(text))
    return Path(text)


def certificates_if_any(text: str) -> Path | None:
    """Return the path of a file of PEM certificates."""
    file = file_if_any(text)
    if file:
        holds_certificates(file)
    return file
