"""Who did this? Each kind of change, over HTTP and at the command line, has one answer in the log."""

import getpass
import json
from collections.abc import Callable

from followers import read_all
from key_holders import holder
from payment_life import PENDING, booked
from processes import Service, Stub, wait_for, wait_until_all_told


def test_who_paid_settled_gave_back_let_expire_told_again_made_and_revoked_keys(
    start: Callable[..., Service], order: Stub
) -> None:
    service = start(AUTH="keys", PENDING_EXPIRES_S="4")
    till = holder(service, "payments:write", client="kasir-1")
    manager = holder(service, "refunds:write", "notifications:write", client="manajer")
    owner = holder(service, "admin", client="pemilik")

    def pay(order_id: int, **fields: str) -> int:
        body = {"order_id": order_id, "user_id": 1, "amount": 20_000} | fields
        return booked(till.post("/payments", json=body))

    order.fault(answer=400)  # Order refuses to hear of the first
    paid = pay(1)
    wait_until_all_told(service)
    order.heal()
    settled, expired = pay(2, **PENDING), pay(3, **PENDING)
    assert till.request("PATCH", f"/payments/{settled}", json={"status": "paid"}).status_code == 200
    assert manager.post(f"/payments/{settled}/refunds", json={}).status_code == 201
    has_expired = ("payment.failed", f"payments/{expired}")
    wait_for(lambda: has_expired in {(e["type"], e["subject"]) for e in events_of(service, owner.key)})
    wait_until_all_told(service)
    (dead,) = [e for e in events_of(service, owner.key) if e["type"] == "notification.dead"]
    assert manager.post(f"/{dead['subject']}/retry").status_code == 200
    wait_until_all_told(service)
    made = owner.post("/keys", json={"client": "kasir-2", "scopes": ["payments:read"]}).json()
    assert owner.post(f"/keys/{made['id']}/revoke").status_code == 200
    assert service.cli("keys", "revoke", till.id).returncode == 0

    events = events_of(service, owner.key)
    did = {(event["type"], event["subject"], event["actor"]) for event in events}
    by_till, by_manager, by_owner = (
        f"{client}/{key.id}" for client, key in (("kasir-1", till), ("manajer", manager), ("pemilik", owner))
    )
    here = f"cli:{getpass.getuser()}"
    assert did >= {
        ("payment.paid", f"payments/{paid}", by_till),
        ("payment.paid", f"payments/{settled}", by_till),
        ("payment.refunded", f"payments/{settled}", by_manager),
        ("payment.failed", f"payments/{expired}", "expiry"),
        ("notification.dead", dead["subject"], "worker"),
        ("notification.retried", dead["subject"], by_manager),
        ("key.created", f"keys/{till.id}", here),
        ("key.created", f"keys/{made['id']}", by_owner),
        ("key.revoked", f"keys/{made['id']}", by_owner),
        ("key.revoked", f"keys/{till.id}", here),
    }
    shown = service.cli("events", "--all", "--json")
    assert [json.loads(line) for line in shown.stdout.splitlines()] == events


def events_of(service: Service, key: str) -> list[dict[str, str]]:
    return read_all(service.url, key=key)
