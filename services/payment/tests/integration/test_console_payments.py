"""Payments in the console: found, settled and given back, once, by what is true now."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from console_visitor import Form, Page, Visitor
from payment_life import new_order_id
from processes import Service, Stub, wait_for

HOSTILE = "<script>alert(1)</script>' \" & {{7*7}} %(id)s"


@pytest.fixture
def visitor(shared: Service) -> Iterator[Visitor]:
    with Visitor(shared.url) as visitor:
        yield visitor


def pay(service: Service, **fields: object) -> int:
    body = {"order_id": new_order_id(), "user_id": new_order_id(), "amount": 20_000} | fields
    paid = service.http.post("/payments", json=body)
    assert paid.status_code == 201
    return int(paid.json()["payment_id"])


def payment(service: Service, payment_id: int) -> dict[str, object]:
    shown: dict[str, object] = service.http.get(f"/payments/{payment_id}").json()
    return shown


def path_of(payment_id: int) -> str:
    return f"/console/payments/{payment_id}"


def shown_in(page: Page) -> list[str]:
    """Return the payments that a page leads to."""
    return [link for link in page.links if link.startswith("/console/payments/")]


def sure(page: Page) -> Form:
    """Return the form of a page that asks whether its reader is sure."""
    return page.form(sure="yes")


def test_a_pending_payment_is_settled_after_a_second_look(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared, status="pending", method="qris")
    asked = visitor.send(visitor.open(path_of(payment_id)).form(do="settle", status="paid"))
    assert "Apakah Rp 20.000 sudah masuk?" in asked.text
    assert payment(shared, payment_id)["status"] == "pending"
    done = visitor.send(sure(asked))
    assert httpx.URL(done.url).path == path_of(payment_id)
    assert "Pembayaran sudah dibayar." in done.text
    assert payment(shared, payment_id)["status"] == "paid"


def test_a_refund_shows_its_amounts_before_and_its_reason_after(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared)
    form = visitor.open(path_of(payment_id)).form(do="refund")
    asked = visitor.send(form, amount="Rp 5.000", reason=HOSTILE)
    assert "Kembalikan Rp 5.000?" in asked.text
    assert "Rp 15.000" in asked.text  # left after it
    done = visitor.send(sure(asked))
    assert done.text.count(HOSTILE) == 2  # in the story, and among the refunds
    assert "<script>alert" not in visitor.http.get(path_of(payment_id)).text
    refunds = shared.http.get(f"/payments/{payment_id}/refunds").json()["refunds"]
    assert [(refund["amount"], refund["reason"]) for refund in refunds] == [(5_000, HOSTILE)]


def test_an_empty_amount_gives_back_all_that_is_left(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared)
    page = visitor.open(path_of(payment_id))
    visitor.send(sure(visitor.send(page.form(do="refund"), amount="5.000")))
    visitor.send(sure(visitor.send(visitor.open(path_of(payment_id)).form(do="refund"))))
    assert payment(shared, payment_id)["amount_refunded"] == 20_000
    assert payment(shared, payment_id)["status"] == "refunded"


@pytest.mark.parametrize("amount", ["0", "20.001", "-5", "5,5 ribu", "abc", "9" * 24, "１２"])
def test_an_amount_that_cannot_be_is_said_at_its_field(
    shared: Service, visitor: Visitor, amount: str
) -> None:
    payment_id = pay(shared)
    page = visitor.send(visitor.open(path_of(payment_id)).form(do="refund"), amount=amount, reason="salah")
    assert page.status == 400
    assert "Jumlah harus 1 sampai Rp 20.000." in page.text
    assert page.form(do="refund").fields["reason"] == "salah"
    assert payment(shared, payment_id)["amount_refunded"] == 0


def test_a_reason_that_the_api_refuses_is_refused_in_its_words(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared)
    asked = visitor.send(visitor.open(path_of(payment_id)).form(do="refund"), amount="1", reason="a\u202eb")
    refused = visitor.send(sure(asked))
    assert refused.status == 400
    assert "reason harus" in refused.text
    assert payment(shared, payment_id)["amount_refunded"] == 0


def test_a_form_that_is_sent_twice_at_once_counts_once(
    shared: Service, visitor: Visitor, rounds: range
) -> None:
    for _ in rounds:
        payment_id = pay(shared)
        asked = visitor.send(visitor.open(path_of(payment_id)).form(do="refund"), amount="5.000")
        form = sure(asked)
        cookies = dict(visitor.http.cookies)
        with ThreadPoolExecutor() as both, Visitor(shared.url) as again:
            again.http.cookies.update(cookies)
            pages = list(both.map(Visitor.send, (visitor, again), (form, form)))
        assert [page.status for page in pages] == [200, 200]
        assert payment(shared, payment_id)["amount_refunded"] == 5_000


def test_two_tabs_give_back_once_and_the_second_says_what_is_true(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared)
    tabs = [
        sure(visitor.send(visitor.open(path_of(payment_id)).form(do="refund"), amount="5.000"))
        for _ in range(2)
    ]
    visitor.send(tabs[0])
    late = visitor.send(tabs[1])
    assert late.status == 409
    assert "Tidak ada yang diubah." in late.text
    assert "dikembalikan Rp 5.000" in late.text
    assert payment(shared, payment_id)["amount_refunded"] == 5_000


def test_a_page_that_is_old_settles_nothing(shared: Service, visitor: Visitor) -> None:
    payment_id = pay(shared, status="pending")
    old = sure(visitor.send(visitor.open(path_of(payment_id)).form(do="settle", status="failed")))
    assert shared.http.patch(f"/payments/{payment_id}", json={"status": "paid"}).status_code == 200
    late = visitor.send(old)
    assert late.status == 409
    assert "failed" in late.text
    assert not [form for form in late.forms if form.fields.get("do") == "settle"]
    assert payment(shared, payment_id)["status"] == "paid"


def test_a_split_bill_shows_all_shares(shared: Service, visitor: Visitor) -> None:
    order_id = new_order_id()
    shares = [pay(shared, order_id=order_id, order_total=60_000, amount=each) for each in (20_000, 25_000)]
    page = visitor.open(path_of(shares[0]))
    assert f"/console/payments/{shares[1]}" in page.links
    assert "Sisa Rp 15.000" in page.text


def test_what_is_not_there_is_said(visitor: Visitor) -> None:
    for path in ("/console/payments/999999999", "/console/payments/0", f"/console/payments/{'9' * 400}"):
        page = visitor.open(path)
        assert page.status in {400, 404}, path
        assert "/console" in page.links
    assert visitor.open("/console/payments/abc").status == 404


def test_a_search_finds_what_a_number_may_be(shared: Service, visitor: Visitor) -> None:
    order_id, user_id = new_order_id(), new_order_id()
    payment_id = pay(shared, order_id=order_id, user_id=user_id, amount=73_219)
    for typed in (
        f"#{payment_id}",
        str(order_id),
        f"pesanan {order_id}",
        f"tamu {user_id}",
        "73.219",
        "Rp 73.219",
    ):
        assert path_of(payment_id) in visitor.open("/console/payments", q=typed).links, typed
    assert path_of(payment_id) not in visitor.open("/console/payments", q="73.218").links
    nothing = visitor.open("/console/payments", q=HOSTILE)
    assert nothing.status == 200
    assert "Tidak ada yang ditemukan." in nothing.text
    day = visitor.open("/console/payments", q="hari ini")
    assert day.headers["content-type"].startswith("text/html")
    assert {"from", "to"} == set(httpx.URL(day.url).params)


def test_the_list_goes_on_page_by_page_with_its_filters(shared: Service, visitor: Visitor) -> None:
    user_id = new_order_id()
    made = [pay(shared, user_id=user_id, method="card" if each % 2 else "cash") for each in range(60)]
    seen: list[str] = []
    page = visitor.open("/console/payments", user_id=user_id, method="card")
    seen += shown_in(page)
    while page.next:
        page = visitor.open(page.next)
        seen += shown_in(page)
    assert seen == [path_of(payment_id) for payment_id in reversed(made[1::2])]
    file = visitor.http.get("/console/payments.csv", params={"user_id": user_id, "method": "card"})
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.text.count("\n") == 31
    assert len(file.headers.get_list("x-request-id")) == 1


NO_FILTERS = ("status=gold", "from=yesterday", "to=2026-02-30", "amount=-1", "order_id=a")


@pytest.mark.parametrize(
    "address",
    [
        "/console/payments?cursor=x",  # a file has all pages
        *(f"/console/payments{file}?{query}" for file in ("", ".csv") for query in NO_FILTERS),
    ],
)
def test_filters_that_are_none_are_said_on_a_page(visitor: Visitor, address: str) -> None:
    page = visitor.open(address)
    assert page.status == 400
    assert page.headers["content-type"].startswith("text/html")


def test_a_story_has_its_outage_and_its_end(start: Callable[..., Service], order: Stub) -> None:
    """What was booked, by whom; what Order did not take, and then took."""
    service = start()
    order.fault(answer=503, times=2)
    payment_id = pay(service)
    with Visitor(service.url) as visitor:
        wait_for(lambda: "Layanan Order dikabari paid" in visitor.open(path_of(payment_id)).text)
        page = visitor.open(path_of(payment_id))
        assert page.text.count("Layanan Order belum dikabari: tidak terjangkau") == 2, page.text
        assert page.text.index("Dicatat Rp 20.000") < page.text.index("Layanan Order belum dikabari")
        english = visitor.open(path_of(payment_id), lang="en")
        assert "Order service was told paid" in english.text
        assert "Order service was told paid" in visitor.open(path_of(payment_id)).text  # remembered
