"""The environment, read a setting at a time. What is wrong is noted, so that all of it is said at once."""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from environs import Env, EnvValidationError, FileAwareEnv
from marshmallow.validate import Range

T = TypeVar("T")

YEAR_S = 366 * 24 * 3600.0
_SECONDS = Range(min=0, min_inclusive=False, max=YEAR_S, error="must be more than 0 and at most a year")
_COUNTS = Range(min=1, error="must be at least 1")


class Environment(FileAwareEnv):
    """The process's environment; `NAME_FILE` may name a file that holds the value of `NAME`.

    A setting that is wrong reads as None or as its default until `problems` says so.
    """

    def __init__(self) -> None:
        super().__init__(eager=False, strip_whitespace=True)
        self._unreadable: dict[str, list[str]] = {}

    def _get_value(self, env_key: str, default: Any) -> Any:
        """Note a file that cannot be read beside all other problems, instead of ending at the first."""
        if env_key.startswith("OTEL_"):  # OpenTelemetry reads these too, and would not look into a file
            return Env._get_value(self, env_key, default)  # noqa: SLF001  # past the class between
        try:
            return super()._get_value(env_key, default)
        except ValueError:
            self._unreadable[f"{env_key}_FILE"] = ["names no file of text that can be read"]
            return default

    def seconds(self, name: str, default: float) -> float:
        """Read a time: more than nothing, at most a year."""
        return self.float(name, default, validate=_SECONDS)

    def count(self, name: str, default: int) -> int:
        """Read a number of things, at least one."""
        return self.int(name, default, validate=_COUNTS)

    def parsed(self, name: str, default: str, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of the text; it raises ValidationError if that is wrong."""
        results = list[T]()  # of the one time that it is parsed: it may read a file
        self.str(name, default, validate=lambda text: results.append(parse(text)))
        return results[0] if results else parse(default)

    def problems(self) -> dict[str, list[str]]:
        """Return what is wrong, by the name of the setting. Nothing can be read any more."""
        try:
            self.seal()
        except EnvValidationError as error:
            wrong: dict[str, list[str]] = error.error_messages  # type: ignore[assignment]  # of all that was read
            return self._unreadable | wrong
        return self._unreadable


def environment_with(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for another process of ours: this one's, with these settings instead of its own.

    Args:
        values: by name; a file that was to hold one of them is no longer named.
    """
    ours = dict(os.environ)  # noqa: TID251  # this is the module that may
    return {name: text for name, text in ours.items() if name.removesuffix("_FILE") not in values} | dict(
        values
    )
