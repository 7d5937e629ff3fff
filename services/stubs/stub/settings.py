"""A stub's settings: environment variables, and one line for a wrong one."""

import os
import re
import sys
from pathlib import Path
from typing import NoReturn


def refuse_to_start(reason: str) -> NoReturn:
    """One line on stderr, exit code 2."""
    print(reason, file=sys.stderr)
    raise SystemExit(2) from None


def setting(name: str, default: str) -> str:
    """The environment variable of this name."""
    return os.environ.get(name, default)


def token_setting() -> str:
    """TOKEN, the bearer token that is demanded, "" for none; one that no header can carry does not start."""
    token = setting("TOKEN", "").strip()
    if token and not re.fullmatch(r"[!-~]+", token):
        refuse_to_start("TOKEN must be visible ASCII characters")  # without the token itself: this is logged
    return token


def int_setting(name: str, default: int, *, low: int, high: int) -> int:
    """The whole number in the environment variable of this name; nothing else starts."""
    text = setting(name, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        refuse_to_start(f"{name} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def states_file_setting() -> Path | None:
    """STATES_FILE, where the states are kept; None if they end with the process."""
    text = setting("STATES_FILE", "").strip()
    return Path(text) if text else None
