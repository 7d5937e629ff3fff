"""Asking the neighbours what they know, several questions at a time."""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

from payment.core.neighbours import Neighbour
from payment.telling.downstream import NeighbourClient, RemoteState

UNANSWERED_MAX = 20
"""After so many questions in a row without an answer a neighbour is not asked any more."""

_LOOK_S = 0.5
"""How often calls that take too long are looked for, and whether the asking goes on."""


class BrokenOff(Exception):
    """Whoever asks does not go on; what was answered so far does not count."""


@dataclass(frozen=True, slots=True)
class Target:
    """An order or a guest, and its newest payment."""

    neighbour: Neighbour
    id: int
    payment_id: int


class Asking:
    """Asks the neighbours, none for longer than a call may take.

    Args:
        clients: of those to be asked.
        concurrency: the most questions at a time.
        goes_on: says whether to go on; asked now and then.
    """

    def __init__(
        self, clients: Collection[NeighbourClient], concurrency: int, goes_on: Callable[[], bool]
    ) -> None:
        self._clients = {client.neighbour: client for client in clients}
        self._goes_on = goes_on
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")
        # the errors of the last questions in a row that a neighbour did not answer; each asking thread writes
        # and reads them
        self._silences: dict[Neighbour, list[str]] = {neighbour: [] for neighbour in self._clients}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def has_given_up(self) -> bool:
        """Say whether a neighbour is not asked any more."""
        return any(len(silences) >= UNANSWERED_MAX for silences in self._silences.values())

    def hope_again(self, after_s: float) -> None:
        """Wait for so long, then ask all neighbours again.

        Raises:
            BrokenOff: it does not go on.
        """
        until_s = time.monotonic() + after_s
        while (left_s := until_s - time.monotonic()) > 0:
            if not self._goes_on():
                raise BrokenOff
            time.sleep(min(left_s, _LOOK_S))
        for silences in self._silences.values():
            silences.clear()

    def ask_all(self, targets: Collection[Target]) -> dict[Target, RemoteState]:
        """Return what the neighbours say.

        Raises:
            BrokenOff: it does not go on; calls that hang were ended.
        """
        answers = {target: self._threads.submit(self._ask, target) for target in targets}
        pending: set[Future[RemoteState]] = set(answers.values())
        is_broken_off = False
        while pending:
            _, pending = wait(pending, timeout=_LOOK_S)
            is_broken_off = is_broken_off or not self._goes_on()
            if is_broken_off:
                for each in pending:
                    each.cancel()
            for client in self._clients.values():
                client.end_calls() if is_broken_off else client.end_slow_calls()
        if is_broken_off:
            raise BrokenOff
        return {target: answer.result() for target, answer in answers.items()}

    def _ask(self, target: Target) -> RemoteState:
        silences = self._silences[target.neighbour]
        before = list(silences)  # another thread may clear it
        if len(before) >= UNANSWERED_MAX:
            said = f"not asked: {target.neighbour.name} did not answer {UNANSWERED_MAX} times in a row"
            return RemoteState(None, f"{said}, last: {before[-1]}")
        known = self._clients[target.neighbour].read(target.id)
        if known.is_silent:
            silences.append(known.error or "")
        else:
            silences.clear()
        return known
