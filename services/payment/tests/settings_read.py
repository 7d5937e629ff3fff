"""What is wrong with the settings of an environment, and certificates as the files that settings name."""

import inspect
import re
from pathlib import Path

import pytest
from trustme import CA

from payment.core import settings as module
from payment.core.settings import SettingsError, read_settings

CLIENTS = CA()


def ca_file(folder: Path, name: str) -> Path:
    """Write a CA's certificate."""
    file = folder / f"{name}.pem"
    file.write_bytes(CLIENTS.cert_pem.bytes())
    return file


def client_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a client's certificate and its key."""
    leaf = CLIENTS.issue_cert(f"{name}.example")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return cert, key


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, list[str]]:
    """Read the settings in this environment; return what is wrong with them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert all(name in str(refused.value) for name in refused.value.problems)
    return dict(refused.value.problems)


def names_in_code() -> set[str]:
    """Return the name of every setting that `read_settings` asks the environment for."""
    code = inspect.getsource(module)
    plain = re.findall(r'env\.\w+\(\s*"([A-Z][A-Z_]+)"', code)
    of_neighbours = re.findall(r'f"\{name\}(_[A-Z_]+)"', code)
    return {*plain, *(name + suffix for name in ("ORDER", "USER") for suffix in of_neighbours)}
