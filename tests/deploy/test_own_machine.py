"""What docs/deployment.md gives to take along: units for systemd, proxies, and a backup that is one."""

import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
PROXIES = ROOT / "deploy" / "proxy"
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text()


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={"PATH": "/usr/sbin:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With programs that are there in the place of /opt/payment."""
    for unit in UNITS.glob("*.*"):
        text = re.sub(r"^User=.*\n", "", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(re.sub(r"/opt/payment/bin/[\w-]+", "/bin/true", text))
    said = run("systemd-analyze", "verify", "--man=no", *tmp_path.glob("*.*"))
    ours = [line for line in said.stderr.splitlines() if "payment" in line]
    assert ours == []


def test_each_timer_has_its_service_and_the_document_names_all() -> None:
    timers = {unit.stem for unit in UNITS.glob("*.timer")}
    assert timers == {unit.stem for unit in UNITS.glob("*.service")} - {"payment"}
    assert all(f"`{timer}.timer`" in DOCUMENT for timer in timers)
    for unit in UNITS.glob("*.service"):
        for command in re.findall(r"/opt/payment/bin/payment (\w+)", unit.read_text()):
            assert run(ROOT / ".venv" / "bin" / "payment", command, "--help").returncode == 0, unit


@pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="needs nginx")
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    certificate = trustme.CA().issue_cert("pay.example")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    site = re.sub(
        r"/etc/letsencrypt\S+\.pem", str(tmp_path / "both.pem"), (PROXIES / "nginx.conf").read_text()
    )
    (tmp_path / "site.conf").write_text(site)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; include {tmp_path}/site.conf; }}\n"
    )
    tested = run("nginx", "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf")
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_a_proxy_leads_to_our_port_and_keeps_metrics_inside(name: str) -> None:
    text = (PROXIES / name).read_text()
    assert "127.0.0.1:5004" in text
    assert "/metrics" in text
    assert f"deploy/proxy/{name}" in DOCUMENT


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="needs the program sqlite3")
def test_a_backup_has_what_is_still_in_the_log_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    file = tmp_path / "payment.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE payments (id INTEGER PRIMARY KEY)")
        database.execute("INSERT INTO payments VALUES (1)")
        database.commit()
        made = run(UNITS / "payment-backup", BACKUPS=str(backups), DATABASE_URL=f"sqlite:///{file}")
        assert made.returncode == 0, made.stderr
    copy = Path(made.stdout.strip())
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as restored:
        assert restored.execute("SELECT id FROM payments").fetchall() == [(1,)]
    copy.unlink()

    broken, missing = tmp_path / "broken.db", tmp_path / "missing.db"
    broken.write_bytes(b"no database" * 1000)
    for url in (
        f"sqlite:///{broken}",
        f"sqlite:///{missing}",
        "mysql://somewhere",
        "postgresql://127.0.0.1:1/payment",
    ):
        failed = run(UNITS / "payment-backup", BACKUPS=str(backups), DATABASE_URL=url)
        assert failed.returncode != 0, url
        assert failed.stderr
    assert list(backups.iterdir()) == []
    assert not missing.exists()
