"""A password in a URL: one with a character that ends it is refused, and no part of it is shown anywhere."""

import pytest

from payment.core.settings import SettingsError, read_settings
from payment_contracts import options
from payment_contracts.verdict import InvalidRunError

ESCAPE_IT = "write %40 for @"
DATABASES = ("DATABASE_URL", "DATABASE_LISTEN_URL")
COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CUT = ["ge@heim", "@geheim", "geheim@", "ge@he@im", "ge@he/im", "ge/he@im", "ge@he?im", "ge?he@im"]
CUT += ["ge@he#im", "ge#he@im", "ge@he:im", "ge:he@im", "ge@1/heim", "ge@[heim"]


def said_of(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """Return what is wrong with this setting, and with no other."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert list(raised.value.problems) == [name]
    return str(raised.value)


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("password", CUT)
def test_a_databases_password_with_an_at_sign_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    """It would end there: the rest is the host, which each error of a connection prints."""
    said = said_of(monkeypatch, name, f"postgresql://payment:{password}@db/payment")
    assert ESCAPE_IT in said
    assert "ge" not in said.replace("message", "")
    assert "heim" not in said


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize(
    "password", ["ge/heim", "ge?heim", "ge#heim", "ge:heim", "ge%40heim", "ge%2fheim", "1/x"]
)
def test_what_ends_no_password_is_a_part_of_it(
    monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    monkeypatch.setenv(name, f"postgresql://payment@tenant:{password}@db:5433/payment?sslmode=require")
    settings = read_settings()
    url = settings.database_url if name == "DATABASE_URL" else settings.database_listen_url
    assert url
    meant = password.replace("%40", "@").replace("%2f", "/")
    assert (url.username, url.password, url.database) == ("payment@tenant", meant, "payment")
    assert "heim" not in repr(settings)


def test_a_file_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////data/kasir@rumah/payment.db")
    assert read_settings().database_url.database == "/data/kasir@rumah/payment.db"


@pytest.mark.parametrize("name", COLLECTORS)
@pytest.mark.parametrize("password", [*CUT, "1/ge@heim", "1?heim", "1#heim", "1/heim"])
def test_a_collectors_password_likewise(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    """Digits before the character that ends it are a port, so that the URL looks right."""
    said = said_of(monkeypatch, name, f"http://payment:{password}@collector:4318")
    assert "heim" not in said


@pytest.mark.parametrize("name", ["ORDER_SERVICE_URL", "USER_SERVICE_URL"])
@pytest.mark.parametrize("password", ["geheim", *CUT, "1/heim"])
def test_a_neighbours_url_has_none(monkeypatch: pytest.MonkeyPatch, name: str, password: str) -> None:
    assert "heim" not in said_of(monkeypatch, name, f"http://payment:{password}@order:5003")


@pytest.mark.parametrize("option", ["--order-url", "--user-state-url"])
@pytest.mark.parametrize("password", ["geheim", *CUT, "1/heim"])
def test_nor_has_one_that_is_verified(option: str, password: str) -> None:
    with pytest.raises(InvalidRunError) as raised:
        options.read(["--user-url", "http://user", option, f"http://payment:{password}@order:5003"], {})
    assert option in str(raised.value)
    assert "heim" not in str(raised.value)
