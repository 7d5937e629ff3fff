"""Restarts, crashes, kills and replicas under load: nothing is lost or doubled."""

from load import Load, assert_nothing_lost_or_doubled
from processes import wait_for
from stack import (
    BACK_WITHIN_S,
    NEIGHBOURS,
    SETTLED_WITHIN_S,
    TOLD_WITHIN_S,
    Stack,
    crash,
    is_healthy,
    kill,
    restarts,
    state_of,
    wait_until_back,
    wait_until_healthy,
)


def owners(stack: Stack) -> set[str]:
    """Return the short ids of the containers whose workers have something in hand."""
    return {owner.partition(":")[0] for (owner,) in stack.sql("SELECT DISTINCT owner FROM leases")}


def test_a_restart_of_postgresql_heals_by_itself(up: Stack) -> None:
    load = Load(up)
    load.wait_for_more()
    up.container("postgres").restart()
    load.wait_for_more()
    load.stop()
    assert load.answers["503"] > 0, "it was not noticed"
    assert load.answers["lost connection"] == 0, load.answers
    assert load.slowest_s < 10
    assert_nothing_lost_or_doubled(up, load)
    for service in ("api", "worker"):
        assert restarts(up.container(service)) == 0
        wait_until_healthy(up.container(service))


def test_a_crash_of_the_api_loses_nothing(up: Stack) -> None:
    """The engine starts it again after a crash; after a `docker kill` the operator does, by `make up`."""
    load = Load(up)
    load.wait_for_more()
    api = up.container("api")
    crash(api)
    wait_until_back(api)
    load.wait_for_more()
    kill(api)
    lost = load.answers["lost connection"]
    wait_for(lambda: load.answers["lost connection"] > lost + 10, what="guests notice")
    assert state_of(api)["Status"] == "exited", "nobody has started it yet"
    up.make("up")
    load.wait_for_more()
    load.stop()
    assert_nothing_lost_or_doubled(up, load)


def test_a_crash_of_what_holds_the_port_loses_nothing(up: Stack) -> None:
    """The API shares the network of `port`; when that is gone, the API follows into the new one by itself."""
    load = Load(up)
    load.wait_for_more()
    port, api = up.container("port"), up.container("api")
    crash(port)
    wait_until_back(port)
    wait_until_back(api)
    load.wait_for_more()
    load.stop()
    assert_nothing_lost_or_doubled(up, load)


def test_a_crash_of_the_worker_loses_nothing(up: Stack) -> None:
    up.fault("order", slow_ms=300)  # there is always something on its way
    load = Load(up)
    load.wait_for_more()
    worker = up.container("worker")
    wait_for(lambda: not up.received("order")[-1]["applied"], what="a PUT on its way")
    crash(worker)
    assert up.count("leases WHERE service = 'order'") > 0, "nothing was in hand"
    wait_until_back(worker)
    up.heal("order")
    load.wait_for_more()
    load.stop()
    assert set(load.answers) == {"201"}, "the API does not notice"
    assert_nothing_lost_or_doubled(up, load)


def test_a_killed_neighbour_is_told_when_it_is_back(up: Stack) -> None:
    """Order dies with calls in flight, and forgets all; User is told as ever."""
    order_ids = set(range(1, 21))
    up.fault("order", hang_s=600, apply="after")
    for order_id in order_ids:
        assert up.pay(order_id).status_code == 201
    wait_for(lambda: up.received("order"), what="calls in flight")
    order = up.container("order")
    kill(order)
    assert up.pay(21).status_code == 201, "POST waits for nobody"
    up.wait_until_told("user", order_ids | {21}, TOLD_WITHIN_S)
    assert state_of(order)["Status"] == "exited", "nobody has started it yet"
    up.make("up")
    up.wait_until_told("order", order_ids | {21}, 20)  # all that was never answered
    assert restarts(up.container("worker")) == 0


def test_replicas_carry_on_when_one_of_each_is_killed(up: Stack) -> None:
    up.compose("up", "--detach", "--wait", "--scale", "api=3", "--scale", "worker=3")
    for service in ("api", "worker"):
        assert [is_healthy(container) for container in up.containers(service)] == [True] * 3
    for neighbour in NEIGHBOURS:
        up.fault(neighbour, slow_ms=1_000)  # more is booked than can be told: all workers have work in hand
    load = Load(up)
    wait_for(lambda: len(owners(up)) == 3, BACK_WITHIN_S, "the workers share the work")
    load.wait_for_more()
    worker = up.containers("worker")[1]
    kill(worker)
    assert worker.id[:12] in owners(up), "nothing was in hand"
    load.wait_for_more()
    kill(up.containers("api")[1])
    load.wait_for_more(300)
    load.stop()
    for neighbour in NEIGHBOURS:
        up.heal(neighbour)
    assert_nothing_lost_or_doubled(up, load)
    wait_for(
        lambda: up.count("notifications WHERE state = 'waiting'") == 0 and up.count("leases") == 0,
        SETTLED_WITHIN_S,
        "nothing is owed any more",
    )
    assert_nothing_lost_or_doubled(up, load)
