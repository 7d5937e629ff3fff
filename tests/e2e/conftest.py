"""The stack that a test gets; and what keeps these tests out of `make test`: they need Docker and minutes."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stack import Stack, run

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect what is here only if it was asked for by its path; a folder above it is not enough."""
    asked = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    return None if any(path.resolve().is_relative_to(HERE) for path in asked) else True


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """Return a client of the engine that the `docker` command talks to; no engine is an error, not a skip."""
    host = run("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    client = import_module("docker").DockerClient(base_url=host)  # here, as `make test` reads this file too
    yield client
    client.close()


@pytest.fixture
def stack(engine: Any) -> Iterator[Stack]:
    """Return the stack with nothing of it there yet; all of it is gone afterwards."""
    stack = Stack(engine)
    stack.make("down", "VOLUMES=1")
    yield stack
    stack.close()
    print(stack.compose("logs", "--timestamps", "--tail", "40"))  # noqa: T201  # shown if the test failed
    stack.make("down", "VOLUMES=1")


@pytest.fixture
def up(stack: Stack) -> Stack:
    """Return the stack after `make up`."""
    stack.make("up")
    return stack
