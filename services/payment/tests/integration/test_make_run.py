"""`make run`: the whole journey on one machine, begun and ended as people do it."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from described import ROOT
from ports import free_port
from processes import wait_for
from programs import Process, storm


def test_two_of_the_stack_cannot_have_one_port(tmp_path: Path) -> None:
    port = str(free_port())
    ports = {"PORT": str(free_port()), "ORDER_PORT": port, "USER_PORT": port}
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], ports, cwd=tmp_path)
    assert process.wait(60) == 1
    process.kill()
    (line,) = process.lines
    said = rf"Port {port} \(user\) sudah dipakai / is in use \(order\). .* / take another: USER_PORT=\d+"
    assert re.fullmatch(said, line.strip()), line
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_make_runs_program_brings_up_the_whole_journey(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("PORT", "ORDER_PORT", "USER_PORT")}
    stray = {"TOKEN": "of-another-program"}  # it happens to stand in somebody's shell
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], ports | stray, cwd=tmp_path)
    process.line_with("Ctrl-C")
    payment, order, user = (f"http://127.0.0.1:{port}" for port in ports.values())
    assert httpx.get(f"{order}/orders/1", verify=False).status_code == 200, "no token is demanded"
    booked = httpx.post(
        f"{payment}/payments", json={"order_id": 1, "user_id": 1, "amount": 20000}, verify=False
    )
    assert booked.text == '{"message":"Pembayaran diproses","payment_id":1}'
    wait_for(lambda: httpx.get(f"{order}/orders/1", verify=False).json()["status"] == "paid")
    wait_for(lambda: httpx.get(f"{user}/users/1", verify=False).json()["payment_status"] == "paid")

    second = Process([sys.executable, str(ROOT / "services" / "run.py")], ports, cwd=tmp_path)
    assert second.wait(60) == 1
    second.kill()
    for name, port in ports.items():
        (line,) = [line for line in second.lines if f"Port {port} (" in line]
        assert "sudah dipakai / is in use" in line
        (another,) = re.findall(rf" / take another: {name}=(\d+)$", line)
        assert another not in ports.values()

    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.kill()
    for url in (payment, order, user):
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, verify=False)

    again = Process([sys.executable, str(ROOT / "services" / "run.py")], ports, cwd=tmp_path)
    again.line_with("Ctrl-C")
    assert httpx.get(f"{order}/orders/1", verify=False).json()["status"] == "paid", "it remembers, too"
    assert httpx.get(f"{user}/users/1", verify=False).json()["payment_status"] == "paid"
    printed = "".join(again.lines).partition("try:")[2].partition("Ctrl-C")[0]
    said = subprocess.run(["bash", "-e"], input=printed, capture_output=True, text=True, check=True).stdout
    assert "201 Created" in said
    assert '"status":"paid"' in said, "pasted without a pause"
    assert '"payment_status":"paid"' in said
    assert again.stop() == 0
    (tmp_path / "payment.db").unlink()
    anew = Process([sys.executable, str(ROOT / "services" / "run.py")], ports, cwd=tmp_path)
    anew.line_with("Ctrl-C")
    assert httpx.get(f"{order}/orders/1", verify=False).json()["status"] == "pending", "all begin anew"
    assert '"order_id": 1,' in "".join(anew.lines)
    assert anew.stop() == 0


def test_make_runs_stubs_demand_the_tokens_that_payment_sends(tmp_path: Path) -> None:
    settings = {"ORDER_SERVICE_TOKEN": "rahasia-pesanan", "USER_SERVICE_TOKEN_FILE": "token"}
    (tmp_path / "token").write_text("rahasia-tamu\n")
    ports = {name: str(free_port()) for name in ("PORT", "ORDER_PORT", "USER_PORT")}
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], ports | settings, cwd=tmp_path)
    process.line_with("Ctrl-C")
    payment, order, user = (f"http://127.0.0.1:{port}" for port in ports.values())
    for path in (f"{order}/orders/1", f"{user}/users/1"):
        assert httpx.get(path, verify=False).status_code == 401
    httpx.post(f"{payment}/payments", json={"order_id": 1, "user_id": 1, "amount": 20000}, verify=False)

    def told() -> list[dict[str, str]]:
        return [httpx.get(f"{url}/_stub/states", verify=False).json()["states"] for url in (order, user)]

    wait_for(lambda: told() == [{"1": "paid"}] * 2, what="both are told")
    assert process.stop() == 0
    said = "".join(process.lines)
    assert "rahasia" not in said


def test_closing_the_terminal_ends_all(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("PORT", "ORDER_PORT", "USER_PORT")}
    run, terminal = pty.fork()
    if run == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, str(ROOT / "services" / "run.py")], ports)
    said = b""
    while b"Ctrl-C" not in said:
        said += os.read(terminal, 65536)
    os.close(terminal)
    assert wait_for(lambda: os.waitpid(run, os.WNOHANG)[0], 60) == run
    for port in ports.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}", verify=False)


def test_a_bad_setting_stops_make_runs_program_with_its_name(tmp_path: Path) -> None:
    bad = {
        "PORT": "abc",
        "ORDER_PORT": "0",
        "USER_PORT": "70000",
        "ORDER_SERVICE_TOKEN": "geh eim",
        "USER_SERVICE_TOKEN_FILE": "nowhere",
    }
    for name, value in bad.items():
        process = Process([sys.executable, str(ROOT / "services" / "run.py")], {name: value}, cwd=tmp_path)
        assert process.wait(60) == 2
        process.kill()
        said = "".join(process.lines)
        assert f"bad setting: {name}:" in said
        assert "geh eim" not in said
        assert "Traceback" not in said


def test_if_one_service_ends_all_end(tmp_path: Path) -> None:
    ports = {name: str(free_port()) for name in ("PORT", "ORDER_PORT", "USER_PORT")}
    process = Process([sys.executable, str(ROOT / "services" / "run.py")], ports, cwd=tmp_path)
    process.line_with("Ctrl-C")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    subprocess.run(["kill", "-KILL", children[0]], check=True)
    assert process.wait(60) == 1
    process.kill()
    assert "order berhenti / ended" in "".join(process.lines)


def test_with_keys_one_is_made_to_try_it_and_signals_on_top_of_each_other_end_all(tmp_path: Path) -> None:
    """What it prints can be pasted. The bridge from a QRIS gateway has a key of its own."""
    names = ("PORT", "ORDER_PORT", "USER_PORT", "BRIDGE_PORT", "QRIS_PORT")
    ports = {name: str(free_port()) for name in names}
    process = Process(
        [sys.executable, str(ROOT / "services" / "run.py")],
        ports | {"KEYS": "1", "QRIS": "1"},
        cwd=tmp_path,
    )
    process.line_with("Ctrl-C")
    (key,) = re.findall(r"Authorization: Bearer (pk_\w+)'", "".join(process.lines))
    url = f"http://127.0.0.1:{ports['PORT']}/payments"
    body = {"order_id": 1, "user_id": 1, "amount": 20_000, "method": "qris", "status": "pending"}
    assert httpx.post(url, json=body, verify=False).status_code == 401
    with_key = httpx.post(url, json=body, headers={"Authorization": f"Bearer {key}"}, verify=False)
    assert with_key.status_code == 201
    gateway = f"http://127.0.0.1:{ports['QRIS_PORT']}/qr"
    httpx.post(gateway, json={"payment_id": 1, "amount": 20_000}, verify=False)
    paid = httpx.post(f"{gateway}/1/pay", verify=False).json()
    assert paid["answers"] == [{"status": 200, "body": "paid"}]
    assert storm(process) == 0


@pytest.mark.slow
def test_make_demos_program_fills_a_database_of_its_own_anew(tmp_path: Path) -> None:
    stale = tmp_path / "payment-demo.db"
    stale.write_bytes(b"something else")
    ports = {name: str(free_port()) for name in ("PORT", "ORDER_PORT", "USER_PORT")}
    of_no_demo = {"DATABASE_URL": f"sqlite:///{tmp_path / 'payment.db'}"}
    process = Process(
        [sys.executable, str(ROOT / "services" / "run.py"), "demo"], ports | of_no_demo, cwd=tmp_path
    )
    console = f"console: http://localhost:{ports['PORT']}/console\n"
    wait_for(
        lambda: any(line.endswith(console) for line in process.lines), 90
    )  # it computes for some seconds
    payment, order, _ = (f"http://127.0.0.1:{port}" for port in ports.values())
    (newest,) = httpx.get(f"{payment}/payments?limit=1", verify=False).json()["payments"]
    assert newest["id"] > 1_500
    assert httpx.get(f"{order}/orders/{newest['order_id']}", verify=False).status_code == 200
    assert process.stop() == 0
    assert not (tmp_path / "payment.db").exists()
