"""What DATABASE_URL and the addresses past a pooler may be, and what they then mean."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from payment.core.settings import read_settings
from payment.storage.opening import open_database
from setting_files import empty_environment, problems


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_environment(monkeypatch)


def test_a_parameter_that_nobody_reads_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://u:geheim@db/p?host=a&host=b&sslmode=require&prepare_threshold=geheim"
    said = problems(monkeypatch, DATABASE_URL=url)["DATABASE_URL"][0]
    assert said == (
        "has prepare_threshold after the question mark, which is no parameter of PostgreSQL's connections"
    )
    monkeypatch.setenv("DATABASE_URL", url.partition("&prepare")[0])
    assert read_settings().database_url.query["host"] == ("a", "b")


def test_a_question_mark_in_a_files_name_is_escaped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/q%3F.db")
    database = open_database(read_settings().database_url)
    assert database.migrate() is True
    database.close()
    assert [each.name for each in tmp_path.iterdir()] == ["q?.db"]


def test_the_direct_address_is_listened_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_DIRECT_URL", "postgres://u@db/p")
    settings = read_settings()
    assert settings.database_direct_url == settings.database_listen_url == make_url("postgresql://u@db/p")


def test_an_empty_address_to_listen_at_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_LISTEN_URL", "")
    assert read_settings().database_listen_url is None


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_LISTEN_URL"])
def test_the_address_that_hosting_services_hand_out_is_postgresql(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "postgres://u:geheim@db:5433/p?sslmode=require")
    settings = read_settings()
    url = settings.database_url if name == "DATABASE_URL" else settings.database_listen_url
    assert url == make_url("postgresql://u:geheim@db:5433/p?sslmode=require")


@pytest.mark.parametrize("value", ["postgresql+x://u:geheim@db:port/p", "mysql://u:geheim@db/p", "geheim"])
def test_what_is_said_of_a_bad_database_url_does_not_show_its_password(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    assert "geheim" not in str(problems(monkeypatch, DATABASE_URL=value))
