"""Keeps these tests out of `make test`: they need a Docker engine and minutes. `make e2e` runs them."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Collect what is here only if it was asked for by its path; a folder above it is not enough."""
    asked = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    return None if any(path.resolve().is_relative_to(HERE) for path in asked) else True
