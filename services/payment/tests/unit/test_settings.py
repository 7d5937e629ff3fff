"""Settings: what they are unless somebody says otherwise; a wrong one stops the start with its name."""

import inspect
import re
from dataclasses import FrozenInstanceError, fields, replace
from datetime import time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.engine import make_url

from payment.core import settings as module
from payment.core.retry_policy import RetryPolicy
from payment.core.settings import NeighbourSettings, Settings, read_settings
from setting_files import ca_file, client_pair, empty_environment, problems

Values = list[Any]  # texts, or texts with a name (pytest.param)

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_environment(monkeypatch)


def names_in_code() -> set[str]:
    """Return the name of every setting that is ours (OpenTelemetry's: `test_trace_settings`)."""
    code = inspect.getsource(module)
    plain = re.findall(r'env\.\w+\(\s*"(?!OTEL_)([A-Z][A-Z_]+)"', code)
    of_neighbours = re.findall(r'f"\{name\}(_[A-Z_]+)"', code)
    return {*plain, *(name + suffix for name in ("ORDER", "USER") for suffix in of_neighbours)}


def test_without_any_setting_the_service_is_this() -> None:
    assert read_settings() == Settings(
        host="127.0.0.1",
        port=5004,
        reuse_port=False,
        processes=1,
        metrics_port=None,
        auth="none",
        allowed_hosts=(),
        root_path="",
        console=True,
        console_secret=None,
        console_session_s=43_200.0,
        database_url=make_url("sqlite:///payment.db"),
        database_listen_url=None,
        database_direct_url=None,
        neighbours={
            "order": NeighbourSettings("http://localhost:5003", "/orders/{order_id}/payment", token=None),
            "user": NeighbourSettings(
                "http://localhost:5001", "/users/{user_id}/payment-service", token=None
            ),
        },
        connect_timeout_s=2.0,
        read_timeout_s=5.0,
        lane_concurrency=8,
        poll_interval_s=0.5,
        lease_s=30.0,
        pending_expires_s=86_400.0,
        resend_after_s=60.0,
        retry=RetryPolicy(
            wait_initial_s=1.0,
            wait_max_s=3600.0,
            give_up_after_s=14 * 24 * 3600.0,
            unknown_for_s=3600.0,
            retry_after_max_s=3600.0,
        ),
        circuit_failures=3,
        circuit_probe_max_s=3.0,
        batch_max=64,
        book_unread="auto",
        require_idempotency_key="none",
        connections_max=4096,
        requests_max=256,
        arriving_max=2048,
        streams_max=64,
        body_max_bytes=65_536,
        headers_max_bytes=65_536,
        request_timeout_s=10.0,
        write_timeout_s=10.0,
        time_zone=ZoneInfo("Asia/Jakarta"),
        business_day_starts=time(0, 0),
        idempotency_kept_h=720,
        notifications_kept_d=90,
        events_kept_d=None,
        payments_kept_d=None,
        openapi_file=ROOT / "openapi" / "payment.yaml",
        log_level="info",
        log_format="auto",
        log_requests_max=100,
        exports_traces=False,
    )


def test_how_patient_we_are_unless_somebody_says_otherwise_is_said_by_the_policy() -> None:
    assert read_settings().retry == RetryPolicy()


def test_every_setting_that_is_given_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each differs from its default and from every other, so that no two can be swapped."""
    openapi_file = tmp_path / "other.yaml"
    openapi_file.touch()
    order, user = (client_pair(tmp_path, name) for name in ("order", "user"))
    order_ca, user_ca, any_ca = (ca_file(tmp_path, name) for name in ("order-ca", "user-ca", "any-ca"))
    given = {
        "HOST": "::1",
        "PORT": "1",
        "REUSE_PORT": "true",
        "PROCESSES": "8",
        "AUTH": "keys",
        "ALLOWED_HOSTS": "kasir.example, [::2],",
        "ROOT_PATH": "/kasir/pay/",
        "DATABASE_URL": "sqlite:////data/other.db",
        "DATABASE_LISTEN_URL": "postgresql://payment:geheim@db/payment",
        "DATABASE_DIRECT_URL": "postgresql://owner:geheim@db/payment",
        "ORDER_SERVICE_URL": "https://order.example:8443/api/",
        "ORDER_PAYMENT_PATH": "/o/{order_id}",
        "ORDER_SERVICE_TOKEN": "order's",
        "ORDER_SERVICE_CA_FILE": str(order_ca),
        "ORDER_SERVICE_CLIENT_CERT_FILE": str(order[0]),
        "ORDER_SERVICE_CLIENT_KEY_FILE": str(order[1]),
        "USER_SERVICE_URL": "http://[::1]:81",
        "USER_PAYMENT_PATH": "/users/{user_id}/payment-status",
        "USER_SERVICE_TOKEN": "user's",
        "USER_SERVICE_CA_FILE": str(user_ca),
        "USER_SERVICE_CLIENT_CERT_FILE": str(user[0]),
        "USER_SERVICE_CLIENT_KEY_FILE": str(user[1]),
        "SSL_CERT_FILE": str(any_ca),
        "REQUESTS_CA_BUNDLE": str(any_ca),
        "CONNECT_TIMEOUT_S": "0.1",
        "READ_TIMEOUT_S": "2.5",
        "CONSOLE": "false",
        "CONSOLE_SECRET": "s" * 32,
        "CONSOLE_SESSION_S": "24",
        "LANE_CONCURRENCY": "3",
        "POLL_INTERVAL_S": "4",
        "LEASE_S": "5",
        "PENDING_EXPIRES_S": "18",
        "RESEND_AFTER_S": "6",
        "RETRY_INITIAL_S": "7",
        "RETRY_MAX_S": "8",
        "RETRY_FOR_S": "9",
        "RETRY_UNKNOWN_FOR_S": "10",
        "CIRCUIT_FAILURES": "11",
        "CIRCUIT_PROBE_MAX_S": "12",
        "BATCH_MAX": "13",
        "BOOK_UNREAD": "never",
        "REQUIRE_IDEMPOTENCY_KEY": "split",
        "CONNECTIONS_MAX": "25",
        "REQUESTS_MAX": "14",
        "ARRIVING_MAX": "21",
        "STREAMS_MAX": "22",
        "WRITE_TIMEOUT_S": "23",
        "BODY_MAX_BYTES": "15",
        "HEADERS_MAX_BYTES": "16",
        "REQUEST_TIMEOUT_S": "17",
        "TIMEZONE": "Europe/Berlin",
        "BUSINESS_DAY_STARTS": "04:30",
        "IDEMPOTENCY_KEPT_H": "24",
        "NOTIFICATIONS_KEPT_D": "19",
        "EVENTS_KEPT_D": "20",
        "PAYMENTS_KEPT_D": "31",
        "OPENAPI_FILE": str(openapi_file),
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "LOG_REQUESTS_MAX": "22",
        "METRICS_PORT": "21",
    }
    assert set(given) == names_in_code(), "a setting is missing in this test"
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert read_settings() == Settings(
        host="::1",
        port=1,
        reuse_port=True,
        processes=8,
        metrics_port=21,
        auth="keys",
        allowed_hosts=("kasir.example", "[::2]"),
        root_path="/kasir/pay",
        console=False,
        console_secret="s" * 32,
        console_session_s=24,
        database_url=make_url("sqlite:////data/other.db"),
        database_listen_url=make_url("postgresql://payment:geheim@db/payment"),
        database_direct_url=make_url("postgresql://owner:geheim@db/payment"),
        neighbours={
            "order": NeighbourSettings(
                "https://order.example:8443/api", "/o/{order_id}", "order's", order_ca, *order
            ),
            "user": NeighbourSettings(
                "http://[::1]:81", "/users/{user_id}/payment-status", "user's", user_ca, *user
            ),
        },
        connect_timeout_s=0.1,
        read_timeout_s=2.5,
        lane_concurrency=3,
        poll_interval_s=4,
        lease_s=5,
        pending_expires_s=18,
        resend_after_s=6,
        retry=RetryPolicy(wait_initial_s=7, wait_max_s=8, give_up_after_s=9, unknown_for_s=10),
        circuit_failures=11,
        circuit_probe_max_s=12,
        batch_max=13,
        book_unread="never",
        require_idempotency_key="split",
        connections_max=25,
        requests_max=14,
        arriving_max=21,
        streams_max=22,
        body_max_bytes=15,
        headers_max_bytes=16,
        request_timeout_s=17,
        write_timeout_s=23,
        time_zone=ZoneInfo("Europe/Berlin"),
        business_day_starts=time(4, 30),
        idempotency_kept_h=24,
        notifications_kept_d=19,
        events_kept_d=20,
        payments_kept_d=31,
        openapi_file=openapi_file,
        log_level="debug",
        log_format="json",
        log_requests_max=22,
        exports_traces=False,
    )


NO_COUNT: Values = ["", "0", "-1", "1.5", "many", "nan", "inf", "9" * 5000]
NO_SECONDS: Values = ["", "0", "-1", "soon", "nan", "inf", "-inf", "1e999"]
NO_SECONDS += [pytest.param("1e12", id="31 thousand years, more than a thread can wait")]
NOT_DIRECT = ["db:5432", "sqlite:///payment.db", "mysql://payment:geheim@db/payment"]
NO_URL: Values = [
    "",
    "order:5003",
    "ftp://order",
    "http://",
    "http:///orders",
    "http://order 1",
    "http://order?a=b",
    "http://order#a",
    pytest.param("http://order:99999", id="a port that cannot be"),
    pytest.param("http://:5003", id="no host"),
    pytest.param("http://[::1", id="half an IPv6 address"),
    pytest.param("http://order/{tenant}", id="a placeholder that nobody fills"),
    pytest.param("http://kasir:geheim@order:5003", id="a password, which would take the token's place"),
]
NO_TOKEN: Values = [
    pytest.param("one\ntwo", id="a line break"),
    pytest.param("geheim\x07", id="a control character"),
    pytest.param("kunci-€", id="no ASCII"),
]

NO_PEM: Values = [
    "/no/such/file.pem",
    pytest.param("/", id="a folder"),
    pytest.param("/dev/zero", id="a file without an end"),
]
NO_CERTIFICATES: Values = [*NO_PEM, pytest.param(str(ROOT / "README.md"), id="another file")]

BAD: dict[str, Values] = {
    "PORT": ["", "-1", "65536", "http", "80.5", "nan"],
    "METRICS_PORT": ["", "-1", "65536", "http"],
    "REUSE_PORT": ["", "maybe", "2", "-1"],
    "PROCESSES": [*NO_COUNT, "65"],
    "AUTH": ["maybe", "None", "no", "0", "Keys", "none,keys"],
    "ALLOWED_HOSTS": [
        "kasir.example:5004",
        "http://kasir.example",
        "kasir.example/",
        "localhost,kasir example",
        "kasír.example",
        "*.example",
        "[::1",
        "[::1]:5004",
        "[kasir.example]",
    ],
    "ROOT_PATH": ["pay", "/pay//x", "/pay?x", "/p y", '/"', "http://kasir.example/pay", "/%70ay"],
    "DATABASE_URL": [
        "",
        "payment.db",
        "/data/payment.db",
        "mysql://payment:geheim@db/payment",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        pytest.param("sqlite:///file:payment?mode=memory&uri=true", id="a memory by another name"),
        pytest.param("sqlite+nosuchdriver:///payment.db", id="a driver that is not there"),
        pytest.param("sqlite+aiosqlite:///payment.db", id="a driver that is not installed"),
        pytest.param("sqlite://host/payment.db", id="a host that SQLite does not have"),
        pytest.param("postgresql://payment:geheim@db:port/payment", id="a port that is no number"),
        pytest.param("sqlite:///file:payment.db?mode=ro&uri=true", id="a file that may only be read"),
        pytest.param("sqlite:///file:payment.db?immutable=1&uri=true", id="a file that never changes"),
        pytest.param("sqlite:///q?.db", id="a question mark in a file's name"),
        pytest.param("sqlite:///payment.db?foo=1", id="a parameter that SQLite does not have"),
        pytest.param("sqlite:///payment.db?timeout=soon", id="one that would never have been read"),
        pytest.param("sqlite:///file:payment.db?mode=rw", id="a parameter that only a URI takes"),
        "postgresql://payment:geheim@db/payment?prepare_threshold=0",
        "postgresql://payment:geheim@db/payment?autocommit=true",
        "postgresql://payment:geheim@db/payment?sslmode",
    ],
    "DATABASE_LISTEN_URL": NOT_DIRECT,
    "DATABASE_DIRECT_URL": NOT_DIRECT,
    "ORDER_SERVICE_URL": NO_URL,
    "USER_SERVICE_URL": NO_URL,
    "ORDER_PAYMENT_PATH": [
        "",
        "/orders/payment",
        "orders/{order_id}",
        "/orders/{user_id}",
        "/orders/{}",
        "/orders/{order_id",
        "/orders/order_id}",
        "/orders/{order_id}/{order_id}",
        "/orders/{order_id}/{other}",
        "/orders/{order_id.__class__}",
        pytest.param("/orders/{order_id:q}", id="a format that an id cannot have"),
        pytest.param("/orders/{order_id:{width}}", id="a placeholder within the placeholder"),
        pytest.param("/orders/{order_id!z}", id="a conversion that there is not"),
    ],
    "USER_PAYMENT_PATH": ["", "/users", "users/{user_id}", "/users/{order_id}"],
    "ORDER_SERVICE_TOKEN": NO_TOKEN,
    "USER_SERVICE_TOKEN": NO_TOKEN,
    "SSL_CERT_FILE": NO_CERTIFICATES,
    "REQUESTS_CA_BUNDLE": NO_CERTIFICATES,
    "ORDER_SERVICE_CA_FILE": NO_CERTIFICATES,
    "USER_SERVICE_CA_FILE": NO_CERTIFICATES,
    "ORDER_SERVICE_CLIENT_CERT_FILE": NO_CERTIFICATES,
    "USER_SERVICE_CLIENT_CERT_FILE": NO_CERTIFICATES,
    "ORDER_SERVICE_CLIENT_KEY_FILE": NO_PEM,
    "USER_SERVICE_CLIENT_KEY_FILE": NO_PEM,
    "TIMEZONE": [
        "",
        "WIB",
        "Asia",
        "Asia/Bandung",
        "+07:00",
        "../etc/passwd",
        "/etc/localtime",
    ],
    "BUSINESS_DAY_STARTS": ["", "4", "4:00", "24:00", "04:60", "04:00:00", "04.00", "pagi", "-1:00", "٠٤:٠٠"],
    "IDEMPOTENCY_KEPT_H": ["", "0", "23", "24.5", "-720", "always", "87841", "9" * 5000],
    "NOTIFICATIONS_KEPT_D": ["", "0", "13", "14.5", "-90", "always", "3661", "9" * 5000],
    "PAYMENTS_KEPT_D": ["", "0", "29", "30.5", "-90", "always", "36601", "9" * 5000],
    "EVENTS_KEPT_D": ["", "0", "14.5", "-90", "always", "3661", "9" * 5000],
    "OPENAPI_FILE": ["", "/no/such/file.yaml", "/"],
    "REQUIRE_IDEMPOTENCY_KEY": ["", "ALL", "true", "shares"],
    "BOOK_UNREAD": ["", "sometimes", "true"],
    "CONSOLE": ["", "maybe", "2"],
    "CONSOLE_SECRET": ["short", "s" * 31],
    "LOG_LEVEL": ["", "loud", "INFO", "critical"],
    "LOG_FORMAT": ["", "xml", "JSON"],
    "LOG_REQUESTS_MAX": ["", "-1", "1.5", "all"],
}
COUNTS = (
    "LANE_CONCURRENCY",
    "CIRCUIT_FAILURES",
    "BATCH_MAX",
    "CONNECTIONS_MAX",
    "REQUESTS_MAX",
    "ARRIVING_MAX",
    "STREAMS_MAX",
    "BODY_MAX_BYTES",
    "HEADERS_MAX_BYTES",
)
BAD |= dict.fromkeys(COUNTS, NO_COUNT)
BAD |= {name: NO_SECONDS for name in names_in_code() if name.endswith("_S")}

WITHOUT_A_RULE = {"HOST"}
"""Any text may be the name of an address; the AUTH rule below looks at it."""


def test_every_setting_has_bad_values_below() -> None:
    assert set(BAD) == names_in_code() - WITHOUT_A_RULE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(
            name, *getattr(value, "values", (value,)), id=f"{name}={getattr(value, 'id', value)!s:.40}"
        )
        for name, values in sorted(BAD.items())
        for value in values
    ],
)
def test_a_bad_value_is_refused_with_the_name_of_its_setting_and_no_other(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = problems(monkeypatch, **{name: value})
    assert list(said) == [name]
    assert said[name][0]


@pytest.mark.parametrize("name", ["ORDER_SERVICE_TOKEN", "USER_SERVICE_TOKEN"])
def test_what_is_said_of_a_bad_token_does_not_show_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert "geheim" not in str(problems(monkeypatch, **{name: "geheim\nx"}))


def test_several_bad_settings_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each start would tell of one more."""
    bad = {
        "PORT": "x",
        "LEASE_S": "-1",
        "DATABASE_URL": "x",
        "USER_PAYMENT_PATH": "x",
        "LOG_LEVEL": "x",
        "OPENAPI_FILE": "/x",
    }
    assert set(problems(monkeypatch, **bad)) == set(bad)


def test_a_missing_auth_is_named_beside_other_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(problems(monkeypatch, HOST="0.0.0.0", PORT="x")) == {"AUTH", "PORT"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "::1", "0:0:0:0:0:0:0:1", "localhost"], ids=lambda host: f"HOST={host}"
)
def test_on_loopback_nobody_need_speak_of_auth(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOST", host)
    assert (read_settings().host, read_settings().auth) == (host, "none")


EVERYBODY = ["0.0.0.0", "::", "192.168.1.5", "8.8.8.8", "fe80::1", "payment.example", "localhost.example", ""]


@pytest.mark.parametrize("host", EVERYBODY, ids=lambda host: f"HOST={host}")
def test_on_another_address_the_service_does_not_start_unless_auth_is_said(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    said = problems(monkeypatch, HOST=host)
    assert list(said) == ["AUTH"]
    assert "AUTH=keys" in said["AUTH"][0]
    assert "AUTH=none" in said["AUTH"][0]


def test_an_empty_auth_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`AUTH=${AUTH}` in a compose file gives this where nobody has decided."""
    assert list(problems(monkeypatch, HOST="0.0.0.0", AUTH="")) == ["AUTH"]


@pytest.mark.parametrize("host", EVERYBODY, ids=lambda host: f"HOST={host}")
@pytest.mark.parametrize("auth", ["none", "keys"])
def test_on_another_address_either_is_a_decision_that_is_accepted(
    monkeypatch: pytest.MonkeyPatch, host: str, auth: str
) -> None:
    monkeypatch.setenv("HOST", host)
    monkeypatch.setenv("AUTH", auth)
    assert (read_settings().host, read_settings().auth) == (host, auth)


def test_no_token_and_no_password_stands_in_the_printed_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_SERVICE_TOKEN", "geheim1")
    monkeypatch.setenv("USER_SERVICE_TOKEN", "geheim2")
    settings = read_settings()
    assert (settings.neighbours["order"].token, settings.neighbours["user"].token) == ("geheim1", "geheim2")
    secret_url = make_url("postgresql://payment:geheim3@db/payment")
    for printed in (repr, str, "{}".format, "%s".__mod__):
        assert "geheim" not in printed(replace(settings, database_url=secret_url))


@pytest.mark.parametrize("name", ["ORDER_SERVICE_TOKEN", "USER_SERVICE_TOKEN"])
def test_an_empty_token_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """`ORDER_SERVICE_TOKEN=${ORDER_SERVICE_TOKEN}` must not send an empty bearer."""
    monkeypatch.setenv(name, "")
    assert read_settings().neighbours["order"].token is None
    assert read_settings().neighbours["user"].token is None


def test_what_the_test_run_has_in_its_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the named settings is looked at, whatever else is there."""
    before = read_settings()
    for name in ("DEBUG", "LEVEL", "ORDER", "PAYMENT_PORT", "port", "http_proxy", "TZ"):
        monkeypatch.setenv(name, "1")
    assert read_settings() == before


def test_settings_cannot_be_changed() -> None:
    settings = read_settings()
    for field in fields(settings):
        with pytest.raises(FrozenInstanceError):
            setattr(settings, field.name, None)
