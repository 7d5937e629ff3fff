"""A primary dies, its synchronous standby takes over: nothing acknowledged is lost, nothing is restarted.

And while the standby is away, nothing is acknowledged that it does not have.
"""

import signal
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import psycopg
import pytest
from sqlalchemy import make_url, text

from followers import Follower, read_all
from payment.storage.opening import open_database
from pgbouncer import PgBouncer
from postgres import PostgresServer, create_database
from processes import Service, Stub, http_client, wait_for

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # for `end`

GUESTS = 8
ANSWER_WITHIN_S = 30.0


class Guest(threading.Thread):
    """Pays order after order, each with its own key, until it is answered; notes when."""

    def __init__(self, url: str, number: int, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._orders = range(number, 1_000_000, GUESTS)
        self._done = done
        self.acknowledged: dict[int, int] = {}  # order -> payment
        self.answered_s: list[float] = []
        self.slowest_s = 0.0
        self.answers: Counter[int | str] = Counter()

    def run(self) -> None:
        """Pay until it is enough, the order in hand to its end."""
        with http_client(self._url, ANSWER_WITHIN_S) as http:
            for order_id in self._orders:
                if self._done.is_set():
                    return
                while not self._pay(http, order_id):
                    time.sleep(0.05)
                time.sleep(0.03)  # a load, not the most that the machine can do

    def _pay(self, http: httpx.Client, order_id: int) -> bool:
        began_s = time.monotonic()
        try:
            answer = http.post(
                "/payments",
                json={"order_id": order_id, "user_id": order_id, "amount": 20_000},
                headers={"Idempotency-Key": f"order-{order_id}"},
            )
        except httpx.TransportError as error:
            self.answers[type(error).__name__] += 1
            return False
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        self.answers[answer.status_code] += 1
        if answer.status_code == 201:
            self.acknowledged[order_id] = answer.json()["payment_id"]
            self.answered_s.append(time.monotonic())
        return answer.status_code == 201


def ask(server: PostgresServer, *statements: str, database: str = "postgres") -> str:
    """Run statements on a server; return the last one's first value."""
    url = server.url.set(database=database).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
    return str(row[0]) if row else ""


@pytest.fixture
def primary(end: ExitStack) -> PostgresServer:
    """A primary whose commits wait for its standby."""
    server = PostgresServer("synchronous_standby_names=standby")
    end.callback(server.remove)
    return server


@pytest.fixture
def standby(primary: PostgresServer, end: ExitStack) -> PostgresServer:
    """Its synchronous standby, in step."""
    server = PostgresServer(standby_of=primary)
    end.callback(server.remove)
    in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
    wait_for(lambda: ask(primary, in_step) == "1", 20, "the standby is in step")
    return server


@pytest.fixture
def service(
    request: pytest.FixtureRequest,
    primary: PostgresServer,
    standby: PostgresServer,
    order: Stub,
    user: Stub,
    end: ExitStack,
    tmp_path: Path,
) -> Service:
    """Our service with its worker, over both, or over the primary behind a PgBouncer."""
    direct = create_database(primary.url, "payment")
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (primary, standby))
    url = f"postgresql://postgres@/payment?{hosts}&target_session_attrs=read-write"
    if getattr(request, "param", "direct") == "pooled":
        pooler = PgBouncer(primary.url, "transaction")
        end.callback(pooler.remove)
        url = pooler.in_front_of(direct).render_as_string(hide_password=False)
    database = open_database(make_url(url))
    database.migrate()
    database.close()
    environment = {
        "DATABASE_URL": url,
        "ORDER_SERVICE_URL": order.url,
        "USER_SERVICE_URL": user.url,
        "LEASE_S": "2",
        "RETRY_INITIAL_S": "0.1",
    }
    service = Service(environment, cwd=tmp_path)
    end.callback(service.kill)
    return service


def take_over(standby: PostgresServer) -> None:
    """Make the standby the primary, one whose commits wait for nobody (docs/operations.md)."""
    ask(standby, "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
    standby.promote()


def knows(stub: Stub, order_ids: set[int]) -> bool:
    return stub.states().keys() >= order_ids


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_failover_loses_nothing_and_needs_no_restart(
    primary: PostgresServer,
    standby: PostgresServer,
    service: Service,
    order: Stub,
    user: Stub,
    end: ExitStack,
    how: str,
) -> None:
    done = threading.Event()
    follower = Follower(lambda: [service.url])
    guests = [Guest(service.url, n, done) for n in range(1, GUESTS + 1)]
    for guest in guests:
        guest.start()

    def paid() -> int:
        return sum(len(guest.acknowledged) for guest in guests)

    wait_for(lambda: paid() > 200, 60, "payments before")
    if how == "killed":
        primary.kill()
    else:  # it accepts connections and says nothing, as with a disk that hangs
        primary.send(signal.SIGSTOP)
        end.callback(primary.kill)
    wait_for(lambda: sum(guest.answers[503] for guest in guests) > GUESTS, 60, "503 meanwhile")
    take_over(standby)
    before = paid()
    wait_for(lambda: paid() > before + 200, 60, "payments after, the service never restarted")
    done.set()
    for guest in guests:
        guest.join(30)

    answers = sum((guest.answers for guest in guests), Counter[int | str]())
    assert set(answers) == {201, 503}, answers
    assert max(guest.slowest_s for guest in guests) < 20
    assert "Traceback" not in "".join(service.process.lines)
    acknowledged = {key: value for guest in guests for key, value in guest.acknowledged.items()}
    for stub in (order, user):
        wait_for(partial(knows, stub, set(acknowledged)), 60, f"{stub.name} knows all")
        assert set(stub.states().values()) == {"paid"}

    database = open_database(make_url(service.environment["DATABASE_URL"]))
    with database.read() as connection:
        booked = [tuple(row) for row in connection.execute(text("SELECT order_id, id FROM payments"))]
        dead = connection.execute(
            text("SELECT count(*) FROM notifications WHERE state = 'dead'")
        ).scalar_one()
    database.close()
    assert sorted(booked) == sorted(acknowledged.items()), "lost or doubled"
    assert dead == 0
    follower.caught_up_with({event["id"] for event in read_all(service.url)})
    made = [e["data"]["id"] for e in follower.events if e["type"] == "payment.created"]
    assert sorted(made) == sorted(acknowledged.values()), "who followed the feed saw each payment once"
    moments_s = sorted(moment_s for guest in guests for moment_s in guest.answered_s)
    away_s = max(later - earlier for earlier, later in pairwise(moments_s))
    print(f"without service {away_s:.1f} s, acknowledged {len(acknowledged)}, answers {dict(answers)}")  # noqa: T201  # the figures


def pay(service: Service, order_id: int) -> tuple[int, float]:
    """Pay with the order's key; return the answer's status and its seconds."""
    began_s = time.monotonic()
    status = service.pay(order_id, Idempotency_Key=f"order-{order_id}").status_code
    return status, time.monotonic() - began_s


def in_doubt(primary: PostgresServer) -> bool:
    """Say whether the primary was made to show a commit that the standby does not have."""
    return "canceling wait for synchronous replication" in (primary.folder / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("service", ["direct", "pooled"], indirect=True)
def test_while_the_standby_is_away_nothing_is_acknowledged_and_nobody_hangs(
    primary: PostgresServer, standby: PostgresServer, service: Service, order: Stub
) -> None:
    """The primary's COMMIT waits for the standby without an end; statement_timeout does not count there."""
    standby.kill()
    for order_id in (1, 1, 2):
        status, seconds = pay(service, order_id)
        assert status == 503
        assert seconds < 14
    assert service.http.get("/readyz").status_code == 200
    hanging = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    assert ask(primary, hanging) == "1", "a second commit only waits behind the first, and holds a connection"
    assert service.stop() == 0
    assert not in_doubt(primary)
    service.start()
    standby.start()
    wait_for(lambda: pay(service, 1)[0] == 201, 20, "201 when it is back")
    wait_for(lambda: order.states() == {1: "paid"}, 20, "Order knows")
    assert not in_doubt(primary)


@pytest.mark.slow
def test_an_answer_is_not_repeated_before_the_standby_has_its_payment(
    primary: PostgresServer, standby: PostgresServer, service: Service, end: ExitStack, tmp_path: Path
) -> None:
    """A restarted primary shows what it has committed, though its standby never got it."""
    beside = Service(service.environment, "serve", "--no-worker", cwd=tmp_path)
    end.callback(beside.kill)
    standby.kill()
    assert pay(service, 1)[0] == 503
    primary.kill()
    primary.start()
    wait_for(lambda: beside.http.get("/payments/1").status_code == 200, 20, "the primary shows it")
    # a batch draws an id, and every 32nd is logged, which makes the commit wait by itself: not these
    draw = "SELECT nextval('payments_id_seq')"
    ask(primary, "SET synchronous_commit = local", draw, database="payment")
    assert pay(beside, 1)[0] == 503, "acknowledged, and lost if the standby takes over now"
    assert beside.pay(1).status_code == 503, "nor may the order be called paid"
    standby.start()
    wait_for(lambda: pay(beside, 1)[0] == 201, 20, "201 when the standby is back")
    assert service.pay(1).status_code == 409
    primary.kill()
    take_over(standby)
    wait_for(lambda: service.http.get("/payments/1").status_code == 200, 20, "the payment is there")
