"""Group commit on a real event loop: what waits together is written together, and nobody is forgotten."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from payment.core.errors import Unavailable
from payment.ledger.group_commit import GroupCommit

Result = TypeVar("Result")
HANGS_S = 60.0
"""A test that takes so long hangs; they all end at once otherwise."""


class Disk:
    """A writer that waits for `goes_on` before each batch is done, and doubles numbers.

    A batch that holds one of the numbers in `breaks_on` fails.
    """

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.at_once = 0
        self.breaks_on: set[int] = set()

    async def write(self, batch: Sequence[int]) -> Sequence[int]:
        """Write a batch when it may."""
        self.at_once += 1
        assert self.at_once == 1, "there is one writer"
        self.batches.append(list(batch))
        self.begun.set()
        await self.goes_on.wait()
        self.at_once -= 1
        if self.breaks_on.intersection(batch):
            raise OSError("disk full")
        return [2 * number for number in batch]


def run(test: Coroutine[Any, Any, Result]) -> Result:
    async def bounded() -> Result:
        return await asyncio.wait_for(test, HANGS_S)

    return asyncio.run(bounded())


def submitted(group: GroupCommit[int, int], numbers: Sequence[int]) -> list[asyncio.Task[int]]:
    """Submit numbers, each by a task of its own. They wait as soon as the loop has gone round once."""
    return [asyncio.create_task(group.submit(number)) for number in numbers]


def test_a_request_that_comes_alone_is_written_alone_and_at_once() -> None:
    async def test() -> None:
        disk = Disk()
        disk.goes_on.set()
        group = GroupCommit(disk.write, batch_max=64, queue_max=1024)
        for number in range(5):
            assert await group.submit(number) == 2 * number
        assert disk.batches == [[0], [1], [2], [3], [4]]

    run(test())


def test_what_comes_while_a_batch_is_written_becomes_the_next_two_in_its_order() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=64, queue_max=1024)
        first = submitted(group, [0])
        await disk.begun.wait()
        later = submitted(group, range(1, 52))
        asyncio.get_running_loop().call_soon(disk.goes_on.set)  # after they have come
        assert await asyncio.gather(*first, *later) == [2 * number for number in range(52)]
        assert disk.batches == [[0], list(range(1, 27)), list(range(27, 52))]

    run(test())


def test_of_callers_that_come_again_and_again_half_are_written_while_the_others_come() -> None:
    """Else nearly all wait for the database together, and then it waits for them."""

    async def test() -> None:
        sizes: list[int] = []

        async def write(batch: Sequence[int]) -> Sequence[int]:
            sizes.append(len(batch))
            await turns(5)
            return batch

        async def caller(number: int) -> None:
            for _ in range(20):
                await turns(number % 5)  # its next request takes as long to come
                await group.submit(number)

        group = GroupCommit(write, batch_max=64, queue_max=1024)
        await asyncio.gather(*map(caller, range(40)))
        assert all(18 <= size <= 22 for size in sizes[10:30])

    run(test())


async def turns(number: int) -> None:
    """Wait while the event loop goes round so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_batch_has_a_largest_size() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=8, queue_max=1024)
        first = submitted(group, [0])
        await disk.begun.wait()
        later = submitted(group, range(1, 21))
        asyncio.get_running_loop().call_soon(disk.goes_on.set)
        await asyncio.gather(*first, *later)
        assert disk.batches == [[0], list(range(1, 9)), list(range(9, 17)), list(range(17, 21))]

    run(test())


def test_a_failed_write_is_told_to_everybody_in_the_batch_and_to_nobody_else() -> None:
    async def test() -> None:
        disk = Disk()
        disk.breaks_on = {2}
        group = GroupCommit(disk.write, batch_max=3, queue_max=1024)
        doomed = submitted(group, [1, 2, 3])
        lucky = submitted(group, [4])
        await disk.begun.wait()
        disk.goes_on.set()
        for task in doomed:
            with pytest.raises(OSError, match="disk full"):
                await task
        assert await lucky[0] == 8
        assert disk.batches == [[1, 2, 3], [4]]

    run(test())


def test_after_a_failed_write_the_next_request_is_written() -> None:
    async def test() -> None:
        disk = Disk()
        disk.goes_on.set()
        disk.breaks_on = {1}
        group = GroupCommit(disk.write, batch_max=3, queue_max=1024)
        with pytest.raises(OSError, match="disk full"):
            await group.submit(1)
        assert await group.submit(2) == 4

    run(test())


@pytest.mark.parametrize("answers", [0, 2, 4], ids=lambda answers: f"{answers} answers for 3")
def test_a_writer_that_answers_too_few_or_too_many_leaves_nobody_waiting(answers: int) -> None:
    """It would be a defect of ours, but a request without any answer is the worst of all ends."""

    async def test() -> None:
        async def write(batch: Sequence[int]) -> Sequence[int]:
            return [0] * answers if len(batch) == 3 else [0] * len(batch)

        group: GroupCommit[int, int] = GroupCommit(write, batch_max=3, queue_max=1024)
        tasks = submitted(group, [1, 2, 3, 4])
        done, waiting = await asyncio.wait(tasks, timeout=HANGS_S / 2)
        for task in waiting:
            task.cancel()
        assert not waiting
        assert [type(task.exception()) for task in tasks[:3]] == [ValueError] * 3, "who knows whose is whose"
        assert tasks[3].result() == 0
        assert len(done) == 4

    run(test())


def test_one_more_than_may_wait_is_refused_at_once_and_the_others_are_written() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=5)
        writing = submitted(group, [0])
        await disk.begun.wait()
        waiting = submitted(group, [1, 2, 3, 4, 5])
        too_many = submitted(group, [6, 7])
        for task in too_many:
            with pytest.raises(Unavailable) as refused:
                await task
            assert refused.value.status == 503
            assert refused.value.headers == {"Retry-After": "1"}
        assert disk.batches == [[0]], "nothing was written meanwhile"
        disk.goes_on.set()
        assert await asyncio.gather(*writing, *waiting) == [0, 2, 4, 6, 8, 10]
        assert await group.submit(8) == 16, "there is room again"

    run(test())


def test_draining_waits_until_all_that_was_submitted_is_written() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024)
        tasks = submitted(group, range(5))
        await disk.begun.wait()
        drained = asyncio.create_task(group.drain())
        asyncio.get_running_loop().call_soon(disk.goes_on.set)
        await drained
        assert disk.batches == [[0, 1], [2, 3], [4]]
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]

    run(test())


def test_draining_does_not_end_before_the_writing_does() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024)
        tasks = submitted(group, [1])
        await disk.begun.wait()
        drained = asyncio.create_task(group.drain())
        await asyncio.wait([drained], timeout=0.05)
        assert not drained.done()
        disk.goes_on.set()
        await drained
        assert await tasks[0] == 2

    run(test())


def test_draining_when_nothing_waits_ends_at_once() -> None:
    async def test() -> None:
        disk = Disk()
        await GroupCommit(disk.write, batch_max=2, queue_max=1024).drain()
        assert disk.batches == []

    run(test())


def test_a_drain_that_is_given_up_takes_no_request_with_it() -> None:
    """Whoever stops waiting for the end must not tear the writer away from those who wait for a 201."""

    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024)
        tasks = submitted(group, [1, 2, 3])
        await disk.begun.wait()
        drained = asyncio.create_task(group.drain())
        await asyncio.wait([drained], timeout=0.01)
        drained.cancel()
        await asyncio.wait([drained])
        disk.goes_on.set()
        _, waiting = await asyncio.wait(tasks, timeout=HANGS_S / 2)
        for task in waiting:
            task.cancel()
        assert not waiting
        assert [task.result() for task in tasks] == [2, 4, 6]

    run(test())


@pytest.mark.parametrize("when", ["waiting", "being written"])
def test_a_caller_that_goes_away_does_not_disturb_the_others(when: str) -> None:
    """Its request may be written or not; with its key it can find out."""

    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=3, queue_max=1024)
        if when == "waiting":
            before = submitted(group, [0])
            await disk.begun.wait()
            tasks = submitted(group, [1, 2, 3])
            await asyncio.wait(tasks, timeout=0.01)
        else:
            before = []
            tasks = submitted(group, [1, 2, 3])
            await disk.begun.wait()
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert tasks[1].cancelled()
        disk.goes_on.set()
        assert await asyncio.gather(*before, tasks[0], tasks[2]) == [0] * len(before) + [2, 6]
        assert await group.submit(4) == 8

    run(test())


@pytest.mark.parametrize("leave", [1, 3], ids=["one", "all"])
def test_a_failed_write_is_told_to_those_who_still_wait(leave: int) -> None:
    async def test() -> None:
        disk = Disk()
        disk.breaks_on = {1}
        group = GroupCommit(disk.write, batch_max=3, queue_max=1024)
        tasks = submitted(group, [1, 2, 3])
        await disk.begun.wait()
        for task in tasks[:leave]:
            task.cancel()
        await asyncio.wait(tasks[:leave])
        disk.goes_on.set()
        for task in tasks[leave:]:
            with pytest.raises(OSError, match="disk full"):
                await task
        assert await group.submit(4) == 8

    run(test())


@given(
    waves=st.lists(st.lists(st.booleans(), max_size=6), min_size=1, max_size=6),
    batch_max=st.integers(1, 4),
)
def test_whatever_comes_and_goes_each_gets_its_own_answer_in_order(
    waves: list[list[bool]], batch_max: int
) -> None:
    """Waves of requests, a turn of the writer between them; True is a caller that goes away."""

    async def test() -> None:
        disk = Disk()
        disk.goes_on.set()
        group = GroupCommit(disk.write, batch_max=batch_max, queue_max=1024)
        tasks: list[asyncio.Task[int]] = []
        left: set[int] = set()
        for wave in waves:
            first = len(tasks)
            tasks += submitted(group, range(first, first + len(wave)))
            await asyncio.sleep(0)  # they have come
            for offset, goes_away in enumerate(wave):
                if goes_away and tasks[first + offset].cancel():
                    left.add(first + offset)
        await asyncio.wait(tasks or [asyncio.create_task(group.drain())])
        await group.drain()
        for number, task in enumerate(tasks):
            assert task.cancelled() is (number in left)
            if number not in left:
                assert task.result() == 2 * number
        assert [number for batch in disk.batches for number in batch] == list(range(len(tasks)))
        assert all(1 <= len(batch) <= batch_max for batch in disk.batches)

    run(test())


def test_a_request_that_has_waited_too_long_is_refused_and_not_written() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024, wait_max_s=0.5)
        tasks = submitted(group, [1, 2, 3, 4, 5])
        await disk.begun.wait()
        for task in tasks:
            with pytest.raises(Unavailable):
                await task
        disk.goes_on.set()
        assert await group.submit(6) == 12, "the writer goes on"
        assert disk.batches == [[1, 2], [6]], "what had begun to be written was; the rest was told 503"

    run(test())


def test_each_request_has_its_own_patience() -> None:
    """One that comes later is told later; those that have their answer hold up nobody's end."""

    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=1, queue_max=1024, wait_max_s=0.6)
        (first,) = submitted(group, [1])
        await disk.begun.wait()
        disk.goes_on.set()
        assert await first == 2
        disk.begun.clear()
        disk.goes_on.clear()
        began_s = asyncio.get_running_loop().time()
        (second,) = submitted(group, [2])
        await asyncio.sleep(0.3)
        (third,) = submitted(group, [3])
        for task, least_s in ((second, 0.59), (third, 0.89)):
            with pytest.raises(Unavailable):
                await task
            assert asyncio.get_running_loop().time() - began_s >= least_s
        disk.goes_on.set()

    run(test())


def test_after_the_end_nobody_waits_and_nothing_more_is_written() -> None:
    async def test() -> None:
        disk = Disk()
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024)
        tasks = submitted(group, [1, 2, 3])
        await disk.begun.wait()
        group.end()
        for task in [*tasks, *submitted(group, [4])]:
            with pytest.raises(Unavailable):
                await task
        drained = asyncio.create_task(group.drain())
        await asyncio.wait([drained], timeout=0.01)
        assert not drained.done(), "the batch in hand may still be committed"
        disk.goes_on.set()
        await drained
        assert disk.batches == [[1, 2]]

    run(test())


def test_an_error_that_comes_when_nobody_waits_any_more_is_logged() -> None:
    """Else it would be gone: those who waited were told 503, and log nothing."""

    async def test() -> None:
        disk = Disk()
        disk.breaks_on = {1}
        group = GroupCommit(disk.write, batch_max=2, queue_max=1024, wait_max_s=0.05)
        (task,) = submitted(group, [1])
        with pytest.raises(Unavailable):
            await task
        disk.goes_on.set()
        await group.drain()

    with capture_logs() as lines:
        run(test())
    (line,) = lines
    assert (line["log_level"], line["event"], line["size"]) == ("error", "a batch failed", 1)
    assert (line["error_type"], line["error"]) == ("OSError", "disk full")
