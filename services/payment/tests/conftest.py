"""The fixtures that the tests share; the processes themselves are in `processes`."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import URL, make_url

from chromium import NO_PLAYWRIGHT, NOT_RUN, Chromium, Visitor
from dealing import long_files_first
from forked import run
from moved_databases import fill
from open_connections import left_open, watch_connections
from payment.storage.opening import open_database
from payment_life import new_order_id
from pgbouncer import PgBouncer
from postgres import PostgresServer, create_database, drop_database
from processes import Service, Stub

BOTH = ("sqlite", "postgresql")
POOLED = ("transaction", "session")
"""PostgreSQL behind a PgBouncer that pools in this mode."""

ALSO_POOLED = pytest.mark.parametrize("database_url", [*BOTH, POOLED[0]], indirect=True)
"""For tests of what transactions of several processes do to each other."""

GIVEN = "TEST_DATABASE_URL"

DEMO_ENDS = "2026-03-14T20:30:00+07:00"
"""When the sample days of `shared_demo` end: a Saturday, in the middle of dinner."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a race be run more often than in every `make test`."""
    words = "how often each race is run; ten times as many examples are drawn"
    parser.addoption("--rounds", type=int, default=10, help=words)
    parser.addoption("--seed", type=int, help="what the fuzzing of the console said that it drew from")


def pytest_configure(config: pytest.Config) -> None:
    """Set how much Hypothesis draws; start one PostgreSQL server for all processes of pytest-xdist."""
    settings.register_profile(
        "payment",
        max_examples=10 * config.getoption("--rounds"),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("payment")
    watch_connections()
    if config.getoption("numprocesses", None) and not (GIVEN in os.environ or hasattr(config, "workerinput")):
        server = PostgresServer()
        config.add_cleanup(server.remove)
        os.environ[GIVEN] = server.url.render_as_string(hide_password=False)


def pytest_collection() -> None:
    """Let no garbage be collected while thousands of tests come: all of them stay."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the files that take long begin."""
    long_files_first(items)


def pytest_collection_finish() -> None:
    """Collect from now on, but never look through the tests again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def connections_are_closed() -> Iterator[None]:
    """Every file closes the connections that its tests opened in this process."""
    yield
    assert left_open() == set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say it loudly, after all else, if no page was tested: a list of skipped tests is easily overlooked."""
    yield
    said = " ".join(str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    for reason, lacks in ((NOT_RUN, "no Chromium"), (NO_PLAYWRIGHT, "no Playwright")):
        if reason in said:
            terminalreporter.write_line(f"BROWSER TESTS NOT RUN: {lacks}", red=True, bold=True)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> range:
    """Numbers from 1, one for each round of a race."""
    return range(1, int(request.config.getoption("--rounds")) + 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """The URL of a PostgreSQL server on which the tests may create databases."""
    given = os.environ.get(GIVEN)
    if given:
        yield make_url(given).set(drivername="postgresql")
        return
    server = PostgresServer()
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def migrated(postgres: URL) -> str:
    """The name of a database whose schema is current, to copy."""
    name = f"payment_template_{uuid4().hex}"
    database = open_database(create_database(postgres, name))
    database.migrate()
    database.close()
    return name


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database whose schema is current, to copy."""
    file = tmp_path_factory.mktemp("template") / "payment.db"
    database = open_database(make_url(f"sqlite:///{file}"))
    database.migrate()
    database.close()
    return file


@pytest.fixture(scope="session")
def poolers(postgres: URL) -> Iterator[Callable[[str], PgBouncer]]:
    """A function that returns the PgBouncer of a mode; it skips the test where there is none."""
    with ExitStack() as running:
        made: dict[str, PgBouncer] = {}

        def pooler(mode: str) -> PgBouncer:
            if mode not in made:
                made[mode] = PgBouncer(postgres, mode)
                running.callback(made[mode].remove)
            return made[mode]

        yield pooler


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file in which everything has happened, to copy; see `moved_databases`."""
    file = tmp_path_factory.mktemp("lived") / "payment.db"
    fill(file)
    return file


@contextmanager
def fresh_database(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the URL of a fresh database of this kind, its schema current."""
    if kind == "sqlite":
        made: Path = request.getfixturevalue("migrated_file")
        yield f"sqlite:///{shutil.copy(made, folder / 'payment.db')}"
        return
    server: URL = request.getfixturevalue("postgres")
    template: str = request.getfixturevalue("migrated")
    name = f"payment_{uuid4().hex}"
    url = create_database(server, name, template)
    if kind in POOLED:
        url = request.getfixturevalue("poolers")(kind).in_front_of(url)
    yield url.render_as_string(hide_password=False)
    drop_database(server, name)


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database; the test runs once on each kind."""
    with fresh_database(request.param, tmp_path, request) as url:
        yield url


@pytest.fixture
def direct(database_url: str, postgres: URL) -> str:
    """The URL of the same PostgreSQL database past its pooler."""
    url = postgres.set(database=make_url(database_url).database)
    return url.render_as_string(hide_password=False)


@pytest.fixture
def end(database_url: str) -> Iterator[ExitStack]:
    """Collect what has to end with the test, before its database does."""
    del database_url
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def order(end: ExitStack) -> Stub:
    """Return a running Order stub that knows a million orders."""
    stub = Stub("order")
    end.callback(stub.kill)
    return stub


@pytest.fixture
def user(end: ExitStack) -> Stub:
    """Return a running User stub that knows a million users."""
    stub = Stub("user")
    end.callback(stub.kill)
    return stub


@pytest.fixture
def start(
    end: ExitStack, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[..., Service]:
    """Return a function that starts our service beside the stubs; settings as keywords.

    Retries are quick, so that a test need not wait long for what takes minutes in production. The stubs are
    there once somebody is to call them: a worker, or a test that names them.
    """

    def start(*arguments: str, **settings: str) -> Service:
        environment = {"DATABASE_URL": database_url, "POLL_INTERVAL_S": "0.3", "RETRY_INITIAL_S": "0.1"}
        for name in ("order", "user"):
            if "--no-worker" not in arguments or name in request.fixturenames:
                environment[f"{name.upper()}_SERVICE_URL"] = request.getfixturevalue(name).url
        environment |= settings
        service = Service(environment, *arguments, cwd=tmp_path)
        end.callback(service.kill)
        return service

    return start


@pytest.fixture
def start_alone(end: ExitStack, database_url: str, tmp_path: Path) -> Service:
    """Return a running service of its own, without a worker and without neighbours."""
    service = Service({"DATABASE_URL": database_url}, "serve", "--no-worker", cwd=tmp_path)
    end.callback(service.kill)
    return service


@pytest.fixture(scope="module", params=BOTH)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a running service without a worker, shared by a module's tests of the API alone."""
    folder = tmp_path_factory.mktemp("shared")
    with fresh_database(request.param, folder, request) as url:
        service = Service({"DATABASE_URL": url}, "serve", "--no-worker", cwd=folder)
        yield service
        service.kill()


@pytest.fixture(scope="module", params=[*BOTH, POOLED[0]])
def shared_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Service]]:
    """Return two API processes over one database, which book in different ways, shared by a module."""
    folder = tmp_path_factory.mktemp("pair")
    with fresh_database(request.param, folder, request) as url:
        environments = [{"DATABASE_URL": url, "BOOK_UNREAD": unread} for unread in ("always", "never")]
        pair = [Service(each, "serve", "--no-worker", cwd=folder) for each in environments]
        yield pair
        for service in pair:
            service.kill()


@pytest.fixture(scope="module", params=BOTH)
def shared_demo(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return a running service without a worker on days of `payment demo`, shared by a module's tests."""
    folder = tmp_path_factory.mktemp("demo")
    with fresh_database(request.param, folder, request) as url:
        settings = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
        filled = run(
            "payment", ("demo", "--days", "3", "--now", DEMO_ENDS), env=settings, cwd=folder, timeout_s=120
        )
        assert filled.returncode == 0, filled.stderr
        service = Service({"DATABASE_URL": url}, "serve", "--no-worker", cwd=folder)
        yield service
        service.kill()


@pytest.fixture
def start_keyed(end: ExitStack, database_url: str, tmp_path: Path) -> Callable[..., Service]:
    """Return a function that starts a service that asks for API keys, without a worker and neighbours."""

    def start_keyed(**settings: str) -> Service:
        environment = {"DATABASE_URL": database_url, "AUTH": "keys"} | settings
        service = Service(environment, "serve", "--no-worker", cwd=tmp_path)
        end.callback(service.kill)
        return service

    return start_keyed


@pytest.fixture(scope="module", params=BOTH)
def shared_keyed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return a running service that asks for API keys, shared by a module's tests."""
    folder = tmp_path_factory.mktemp("shared-keyed")
    with fresh_database(request.param, folder, request) as url:
        service = Service({"DATABASE_URL": url, "AUTH": "keys"}, "serve", "--no-worker", cwd=folder)
        yield service
        service.kill()


@pytest.fixture
def order_id() -> int:
    """An order that no other test pays."""
    return new_order_id()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A running Chromium, one for each process of pytest; the test is skipped where there is none."""
    running = Chromium()
    yield running
    running.close()


@pytest.fixture
def visit(chromium: Chromium) -> Iterator[Callable[..., Any]]:
    """A function that returns the page of a new guest of a service, see `Chromium.visitor`.

    Name it after the services among a test's arguments: pages are closed first, which hear of it if one ends.
    The test fails at its end for what no page may do: an error on the console or in a script, something
    against the page's own policy, a request to another host.
    """
    with chromium.in_use(), ExitStack() as leaving:

        def visit(url: str, **options: Any) -> Any:
            visitor: Visitor = chromium.visitor(url, **options)
            leaving.callback(visitor.leave)
            return visitor.page

        yield visit
