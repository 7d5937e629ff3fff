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


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_the_document_names_the_proxies(name: str) -> None:
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
