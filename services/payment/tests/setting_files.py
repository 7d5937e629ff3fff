"""Settings for tests: an environment, and the files that settings may name."""

import os
from pathlib import Path

import pytest
from trustme import CA

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


def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer or CI has set must not decide these tests."""
    for name in list(os.environ):
        if not name.startswith("PYTEST"):
            monkeypatch.delenv(name)


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> dict[str, list[str]]:
    """Read the settings in this environment; return what is wrong with them."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert all(name in str(refused.value) for name in refused.value.problems)
    return dict(refused.value.problems)
