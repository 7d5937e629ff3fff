"""Settings in files, and files that settings name: certificates and keys. A wrong one stops the start."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from trustme import KeyType

from payment.core.environment import environment_with
from payment.core.settings import read_settings
from setting_files import CLIENTS, ca_file, client_pair, empty_environment, problems


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    empty_environment(monkeypatch)


def test_what_another_process_is_told_goes_before_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT_FILE", "/run/port")
    monkeypatch.setenv("REUSE_PORT", "false")
    monkeypatch.setenv("ORDER_SERVICE_TOKEN_FILE", "/run/token")
    told = environment_with({"PORT": "81", "REUSE_PORT": "true"})
    ours = {name: value for name, value in told.items() if not name.startswith("PYTEST")}
    assert ours == {"PORT": "81", "REUSE_PORT": "true", "ORDER_SERVICE_TOKEN_FILE": "/run/token"}


@pytest.mark.parametrize("end_of_file", ["", "\n", "\r\n"], ids=["bare", "newline", "Windows newline"])
@pytest.mark.parametrize("name", ["ORDER_SERVICE_TOKEN", "ORDER_SERVICE_URL", "DATABASE_URL", "PORT"])
def test_a_setting_may_be_the_content_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, end_of_file: str
) -> None:
    """Docker and Kubernetes hand secrets over like this; an editor ends the last line."""
    content = {
        "ORDER_SERVICE_TOKEN": "geheim",
        "ORDER_SERVICE_URL": "http://order:1",
        "DATABASE_URL": "sqlite:////data/of-file.db",
        "PORT": "81",
    }[name]
    file = tmp_path / "secret"
    file.write_bytes((content + end_of_file).encode())
    monkeypatch.setenv(f"{name}_FILE", str(file))
    settings = read_settings()
    read = {
        "ORDER_SERVICE_TOKEN": settings.neighbours["order"].token,
        "ORDER_SERVICE_URL": settings.neighbours["order"].url,
        "DATABASE_URL": settings.database_url.render_as_string(hide_password=False),
        "PORT": str(settings.port),
    }[name]
    assert read == content


@pytest.mark.parametrize("name", ["ORDER_SERVICE_TOKEN", "DATABASE_URL", "PORT"])
def test_a_file_that_is_not_there_is_a_bad_setting_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (bad,) = problems(monkeypatch, **{f"{name}_FILE": str(tmp_path / "missing")})
    assert bad in {name, f"{name}_FILE"}


def test_a_file_that_holds_no_text_is_a_bad_setting_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00geheim")
    said = problems(monkeypatch, ORDER_SERVICE_TOKEN_FILE=str(tmp_path / "token"))
    assert set(said) <= {"ORDER_SERVICE_TOKEN", "ORDER_SERVICE_TOKEN_FILE"}
    assert "geheim" not in str(said)


def test_a_missing_file_is_named_beside_other_bad_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    said = problems(monkeypatch, PORT="x", ORDER_SERVICE_TOKEN_FILE=missing, USER_SERVICE_TOKEN_FILE=missing)
    assert {name.removesuffix("_FILE") for name in said} == {
        "PORT",
        "ORDER_SERVICE_TOKEN",
        "USER_SERVICE_TOKEN",
    }


def test_a_bad_value_in_a_file_is_refused_by_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "port").write_text("x")
    assert list(problems(monkeypatch, PORT_FILE=str(tmp_path / "port"))) == ["PORT"]


@pytest.mark.parametrize("name", ["ORDER", "USER"])
def test_of_the_files_of_cas_the_nearest_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Its own, that of OpenSSL, that of `requests`; the public ones if none is said, or said to be empty."""

    def trusted() -> Path | None:
        settings = read_settings()
        return settings.neighbours[name.lower()].ca_file

    assert trusted() is None
    for setting in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", f"{name}_SERVICE_CA_FILE"):
        monkeypatch.setenv(setting, "")
        before = trusted()
        file = ca_file(tmp_path, setting)
        monkeypatch.setenv(setting, str(file))
        assert trusted() == file != before


CERTIFICATE = CLIENTS.cert_pem.bytes().decode()
BROKEN = CERTIFICATE.replace("MII", "M!I", 1)


@pytest.mark.parametrize("name", ["ORDER_SERVICE_CA_FILE", "SSL_CERT_FILE", "USER_SERVICE_CLIENT_CERT_FILE"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("", "holds no certificate (PEM)", id="empty"),
        pytest.param(CLIENTS.private_key_pem.bytes().decode(), "holds no certificate (PEM)", id="a key"),
        pytest.param(BROKEN, "holds a broken certificate (PEM)", id="broken"),
        pytest.param(CERTIFICATE[:200], "holds a broken certificate (PEM)", id="cut off"),
        pytest.param(CERTIFICATE + BROKEN, "holds a broken certificate (PEM)", id="the second is broken"),
    ],
)
def test_a_file_without_a_sound_certificate_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str, said: str
) -> None:
    file = tmp_path / "bad.pem"
    file.write_text(content)
    assert problems(monkeypatch, **{name: str(file)}) == {name: [said]}


def test_a_certificate_and_its_key_are_given_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cert, key = client_pair(tmp_path, "payment")
    cert_name, key_name = "ORDER_SERVICE_CLIENT_CERT_FILE", "ORDER_SERVICE_CLIENT_KEY_FILE"
    monkeypatch.setenv(cert_name, str(cert))
    assert problems(monkeypatch) == {key_name: [f"is missing beside {cert_name}"]}
    monkeypatch.setenv(cert_name, "")
    assert problems(monkeypatch, **{key_name: str(key)}) == {cert_name: [f"is missing beside {key_name}"]}


def test_a_key_that_is_not_its_certificates_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cert, key = client_pair(tmp_path, "payment")
    monkeypatch.setenv("USER_SERVICE_CLIENT_CERT_FILE", str(cert))

    def refused(content: bytes) -> str:
        file = tmp_path / "bad.key"
        file.write_bytes(content)
        said = problems(monkeypatch, USER_SERVICE_CLIENT_KEY_FILE=str(file))
        assert list(said) == ["USER_SERVICE_CLIENT_KEY_FILE"]
        return said["USER_SERVICE_CLIENT_KEY_FILE"][0]

    for another in (CLIENTS.issue_cert("x"), CLIENTS.issue_cert("x", key_type=KeyType.RSA)):
        assert "does not belong to the first certificate in payment.pem" in refused(
            another.private_key_pem.bytes()
        )
    sound = key.read_bytes()
    locked = serialization.load_pem_private_key(sound, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"geheim"),
    )
    assert refused(locked) == "is encrypted; a key without a password is needed"
    for no_key in (b"", sound[:60], cert.read_bytes()):
        assert refused(no_key) == "holds no private key (PEM)"


def test_a_certificate_and_its_key_may_be_one_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_bytes(CLIENTS.issue_cert("payment.example").private_key_and_cert_chain_pem.bytes())
    for part in ("CERT", "KEY"):
        monkeypatch.setenv(f"ORDER_SERVICE_CLIENT_{part}_FILE", str(file))
    assert read_settings().neighbours["order"].client_key_file == file
