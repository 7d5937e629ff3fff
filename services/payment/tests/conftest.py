"""The fixtures that the tests share; the processes themselves are in `processes`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from processes import Service, Stub


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """Return the URL of a fresh, empty database."""
    return f"sqlite:///{tmp_path / 'payment.db'}"


@pytest.fixture
def end() -> Iterator[ExitStack]:
    """Collect what has to end with the test."""
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
    end: ExitStack, database_url: str, order: Stub, user: Stub, tmp_path: Path
) -> Callable[..., Service]:
    """Return a function that starts our service beside the stubs; settings as keywords.

    Retries are quick, so that a test need not wait long for what takes minutes in production.
    """

    def start(*arguments: str, **settings: str) -> Service:
        environment = {
            "DATABASE_URL": database_url,
            "ORDER_SERVICE_URL": order.url,
            "USER_SERVICE_URL": user.url,
            "POLL_INTERVAL_S": "0.1",
            "RETRY_INITIAL_S": "0.1",
        } | settings
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a running service without a worker, shared by a module's tests of the API alone."""
    folder = tmp_path_factory.mktemp("shared")
    service = Service(
        {"DATABASE_URL": f"sqlite:///{folder / 'payment.db'}"}, "serve", "--no-worker", cwd=folder
    )
    yield service
    service.kill()
