"""Notifications, closing and keys in the console."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from console_visitor import SIGN_IN, Visitor
from key_holders import Holder, holder
from pages import where_it_is_noon
from payment_life import new_order_id
from processes import Service, Stub, wait_for


@pytest.fixture
def admin(shared_keyed: Service) -> Holder:
    return holder(shared_keyed, "admin", client="pemilik")


@pytest.fixture
def visitor(shared_keyed: Service, admin: Holder) -> Iterator[Visitor]:
    with Visitor(shared_keyed.url) as visitor:
        visitor.sign_in(admin.key)
        yield visitor


def shown_key(text: str) -> str:
    return next(word for word in text.replace('"', " ").split() if word.startswith("pk_"))


def make(visitor: Visitor, client: str, *scopes: str) -> str:
    """Make a key by the form; return it as it is shown, this once."""
    form = visitor.open("/console/keys").form(do="create")
    typed = {"client": client} | {f"scope {scope}": "yes" for scope in scopes}
    made = visitor.http.post(form.action, data=form.fields | typed)
    assert made.status_code == 200, made.text
    return shown_key(made.text)


def test_a_key_is_made_shown_once_and_good(shared_keyed: Service, visitor: Visitor) -> None:
    key = make(visitor, "kasir-9", "payments:read", "payments:write")
    listed = visitor.http.get("/console/keys")
    assert "kasir-9" in listed.text
    assert key not in listed.text
    assert key.rpartition("_")[2] not in listed.text
    got = shared_keyed.http.get("/payments", headers={"Authorization": f"Bearer {key}"})
    assert got.status_code == 200


def test_a_key_is_made_once_however_often_its_form_is_sent(
    shared_keyed: Service, visitor: Visitor, admin: Holder
) -> None:
    client = f"kasir-{new_order_id()}"
    form = visitor.open("/console/keys").form(do="create")
    fields = form.fields | {"client": client, "scope payments:read": "yes"}
    with ThreadPoolExecutor() as both, Visitor(shared_keyed.url) as again:
        again.http.cookies.update(dict(visitor.http.cookies))
        answers = list(both.map(lambda each: each.http.post(form.action, data=fields), (visitor, again)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    keys = admin.get("/keys").json()["keys"]
    assert [key["client"] for key in keys].count(client) == 1


@pytest.mark.parametrize(
    "typed",
    [
        {"client": "a b", "scope admin": "yes"},
        {"client": "kasir-1"},
        {"client": "kasir-1", "scope admin": "yes", "until": "2020-01-01"},
        {"client": "kasir-1", "scope admin": "yes", "until": "besok"},
    ],
    ids=str,
)
def test_a_key_that_cannot_be_is_refused_and_the_form_kept(visitor: Visitor, typed: dict[str, str]) -> None:
    form = visitor.open("/console/keys").form(do="create")
    page = visitor.send(form, **typed)
    assert page.status == 400
    assert "Tidak ada yang diubah." in page.text
    assert page.form(do="create").fields["client"] == typed["client"]


def test_a_key_is_rotated(visitor: Visitor, admin: Holder) -> None:
    client = f"kasir-{new_order_id()}"
    old = make(visitor, client, "payments:read")
    form = visitor.open("/console/keys").form(key=old[3:11])
    asked = visitor.send(form, do="rotate")
    made = visitor.http.post("/console/keys", data=asked.form(sure="yes").fields | {"overlap_s": "0"})
    new = shown_key(made.text)
    assert new[3:11] != old[3:11]
    state = {key["id"]: key["state"] for key in admin.get("/keys").json()["keys"] if key["client"] == client}
    assert state == {old[3:11]: "revoked", new[3:11]: "active"}


def test_a_key_is_revoked_after_a_second_look(visitor: Visitor, admin: Holder) -> None:
    key = make(visitor, "kasir-7", "payments:read")
    asked = visitor.send(visitor.open("/console/keys").form(key=key[3:11]), do="revoke")
    assert admin.get(f"/keys/{key[3:11]}").json()["state"] == "active"
    done = visitor.send(asked.form(sure="yes"))
    assert "Kunci dicabut" in done.text
    assert admin.get(f"/keys/{key[3:11]}").json()["state"] == "revoked"


def test_who_revokes_his_own_key_is_told_so_and_out(shared_keyed: Service) -> None:
    own = holder(shared_keyed, "admin", client="pemilik-2")
    with Visitor(shared_keyed.url) as visitor:
        visitor.sign_in(own.key)
        asked = visitor.send(visitor.open("/console/keys").form(key=own.id), do="revoke")
        assert "Dengan kunci inilah Anda masuk" in asked.text
        visitor.send(asked.form(sure="yes"))
        wait_for(lambda: httpx.URL(visitor.open("/console/keys").url).path == SIGN_IN)


def test_a_dead_notification_is_told_again(start: Callable[..., Service], order: Stub) -> None:
    service = start()
    order.fault(answer=400, times=2)
    ids = [service.pay(new_order_id()).json()["payment_id"] for _ in range(2)]
    wait_for(lambda: len(service.http.get("/notifications?state=dead").json()["notifications"]) == 2)
    with Visitor(service.url) as visitor:
        page = visitor.open("/console/notifications")
        assert {f"/console/payments/{each}" for each in ids} <= set(page.links)
        assert "ditolak" in page.text
        forms = [form for form in page.forms if form.fields.get("do") == "tell again"]
        sent = visitor.send(forms[0])
        assert "Dikirim lagi: 1" in sent.text
        left = wait_for(
            lambda: (
                len(dead := service.http.get("/notifications?state=dead").json()["notifications"]) == 1
                and dead
            )
        )
        asked = visitor.send(visitor.open("/console/notifications").form(do="tell all again"))
        assert "Kirim lagi 1 notifikasi mati?" in asked.text
        done = visitor.send(asked.form(sure="yes"))
        assert "Dikirim lagi: 1" in done.text
        assert left
        wait_for(lambda: not service.http.get("/notifications?state=dead").json()["notifications"])
        wait_for(lambda: "Tidak ada yang seperti ini" in visitor.open("/console/notifications").text)


def test_an_outage_is_seen_and_its_end(start: Callable[..., Service], order: Stub) -> None:
    service = start()
    order.fault(answer=503)
    service.pay(new_order_id())
    with Visitor(service.url) as visitor:
        wait_for(lambda: "Layanan Order tidak terjangkau" in visitor.open("/console").text)
        order.heal()
        wait_for(lambda: "Layanan Order tahu semua" in visitor.open("/console").text)


def test_the_closing_is_that_of_the_api(start: Callable[..., Service]) -> None:
    service = start("serve", "--no-worker", TIMEZONE=where_it_is_noon())
    payment_id = service.pay(new_order_id()).json()["payment_id"]
    service.refund(payment_id, {"amount": 5_000})
    with Visitor(service.url) as visitor:
        page = visitor.open("/console/closing")
        assert "Semua 1 Rp 20.000 Rp 5.000 Rp 15.000" in page.text
        assert "Hari ini belum berakhir" in page.text
        file = visitor.http.get("/console/closing.csv")
        assert file.headers["content-type"].startswith("text/csv")
        day_before = next(link for link in page.links if "date=" in link and "csv" not in link)
        before = visitor.open(day_before)
        assert "Tidak ada yang dibayar" in before.text
        assert "belum berakhir" not in before.text
        assert visitor.open("/console/closing", date="besok").status == 400
        assert visitor.open("/console/closing.csv", date="besok").status == 400
