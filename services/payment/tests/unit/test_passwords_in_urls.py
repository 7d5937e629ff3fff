"""A password in a URL: one with a character that ends it is refused, and no part of it is shown anywhere."""

from collections.abc import Callable

import pytest
from marshmallow import ValidationError

from payment.core import setting_rules as rules
from payment.core.settings import SettingsError, read_settings
from payment_contracts import options
from payment_contracts.verdict import InvalidRunError

ESCAPE_IT = "write %40 for @"
CUT = ["ge@heim", "@geheim", "geheim@", "ge@he@im", "ge@he/im", "ge/he@im", "ge@he?im", "ge?he@im"]
CUT += ["ge@he#im", "ge#he@im", "ge@he:im", "ge:he@im", "ge@1/heim", "ge@[heim"]
A_PORT_FIRST = ["1/ge@heim", "1?heim", "1#heim", "1/heim"]
"""Digits before the character that ends it are a port, so that the URL looks right."""


def refusal_of(rule: Callable[[str], object], value: str) -> str:
    """Return what a rule says of a value, which must be nothing of the password."""
    with pytest.raises(ValidationError) as raised:
        rule(value)
    said = str(raised.value)
    assert "geh" not in said
    assert "heim" not in said
    return said


@pytest.mark.parametrize("password", CUT)
def test_a_databases_password_with_an_at_sign_is_refused_and_not_shown(password: str) -> None:
    """It would end there: the rest is the host, which each error of a connection prints."""
    for rule in (rules.database_url, rules.direct_url_if_any):
        assert ESCAPE_IT in refusal_of(rule, f"postgresql://payment:{password}@db/payment")


@pytest.mark.parametrize("password", ["ge/heim", "ge?heim", "ge#heim", "ge:heim", "ge%40heim", "ge%2fheim"])
def test_what_ends_no_password_is_a_part_of_it(password: str) -> None:
    url = rules.database_url(f"postgresql://payment@tenant:{password}@db:5433/payment?sslmode=require")
    meant = password.replace("%40", "@").replace("%2f", "/")
    assert (url.username, url.password, url.host) == ("payment@tenant", meant, "db")
    assert (url.port, url.database) == (5433, "payment")
    assert "heim" not in repr(url)


def test_a_file_may_have_any_name() -> None:
    assert rules.database_url("sqlite:////data/kasir@rumah/p.db").database == "/data/kasir@rumah/p.db"


@pytest.mark.parametrize("password", [*CUT, *A_PORT_FIRST])
def test_a_collectors_password_likewise(password: str) -> None:
    refusal_of(rules.collector_url_if_any, f"http://payment:{password}@collector:4318")


@pytest.mark.parametrize("password", ["geheim", *CUT, *A_PORT_FIRST])
def test_a_neighbours_url_has_none_and_one_that_is_verified_neither(password: str) -> None:
    refusal_of(rules.service_url, f"http://payment:{password}@order:5003")
    for option in ("--order-url", "--user-state-url"):
        with pytest.raises(InvalidRunError) as raised:
            options.read(["--user-url", "http://user", option, f"http://payment:{password}@order:5003"], {})
        assert option in str(raised.value)
        assert "heim" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("DATABASE_URL", "postgresql"),
        ("DATABASE_LISTEN_URL", "postgres"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https"),
        ("ORDER_SERVICE_URL", "http"),
        ("USER_SERVICE_URL", "https"),
    ],
)
def test_each_setting_that_is_a_url_is_held_to_it(
    monkeypatch: pytest.MonkeyPatch, name: str, scheme: str
) -> None:
    monkeypatch.setenv(name, f"{scheme}://payment:ge@heim@host/payment")
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert list(raised.value.problems) == [name]
    assert "heim" not in str(raised.value)
