"""Each setting and its bad values: the start is refused with its name."""

from typing import Any

import pytest

from described import ROOT
from settings_read import names_in_code, problems

pytestmark = pytest.mark.usefixtures("empty_environment")


Values = list[Any]  # texts, or texts with a name (pytest.param)


NO_COUNT: Values = ["", "0", "-1", "1.5", "many", "nan", "inf", "9" * 5000]
NO_SECONDS: Values = ["", "0", "-1", "soon", "nan", "inf", "-inf", "1e999"]
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
    "REUSE_PORT": ["", "maybe", "2", "-1"],
    "AUTH": ["maybe", "None", "no", "0"],
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
    ],
    "DATABASE_LISTEN_URL": [
        "db:5432",
        "sqlite:///payment.db",
        "mysql://payment:geheim@db/payment",
    ],
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
    "IDEMPOTENCY_KEPT_H": ["", "0", "23", "24.5", "-720", "always", "87841", "9" * 5000],
    "NOTIFICATIONS_KEPT_D": ["", "0", "13", "14.5", "-90", "always", "3661", "9" * 5000],
    "OPENAPI_FILE": ["", "/no/such/file.yaml", "/"],
    "LOG_LEVEL": ["", "loud", "INFO", "critical"],
    "LOG_FORMAT": ["", "xml", "JSON"],
}
COUNTS = (
    "LANE_CONCURRENCY",
    "CIRCUIT_FAILURES",
    "BATCH_MAX",
    "REQUESTS_MAX",
    "BODY_MAX_BYTES",
    "HEADERS_MAX_BYTES",
)

NO_SECONDS += [pytest.param("1e12", id="31 thousand years, more than a thread can wait")]
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
