"""Asking the neighbours what they know, several questions at a time."""

from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

from payment.core.neighbours import Neighbour
from payment.telling.downstream import NeighbourClient, RemoteState

UNANSWERED_MAX = 20
"""After so many questions in a row without an answer a neighbour is not asked any more."""

_LOOK_S = 0.5
"""How often calls that take too long are looked for."""


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
    """

    def __init__(self, clients: Collection[NeighbourClient], concurrency: int) -> None:
        self._clients = {client.neighbour: client for client in clients}
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="ask")
        # the errors of the last questions in a row that a neighbour did not answer; each asking thread writes
        # and reads them
        self._silences: dict[Neighbour, list[str]] = {neighbour: [] for neighbour in self._clients}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def ask_all(self, targets: Collection[Target]) -> dict[Target, RemoteState]:
        """Return what the neighbours say."""
        answers = {target: self._threads.submit(self._ask, target) for target in targets}
        pending: set[Future[RemoteState]] = set(answers.values())
        while pending:
            _, pending = wait(pending, timeout=_LOOK_S)
            for client in self._clients.values():
                client.end_slow_calls()
        return {target: answer.result() for target, answer in answers.items()}

    def _ask(self, target: Target) -> RemoteState:
        silences = self._silences[target.neighbour]
        if len(silences) >= UNANSWERED_MAX:
            said = f"not asked: {target.neighbour.name} did not answer {UNANSWERED_MAX} times in a row"
            return RemoteState(None, f"{said}, last: {silences[-1]}")
        known = self._clients[target.neighbour].read(target.id)
        if known.is_silent:
            silences.append(known.error or "")
        else:
            silences.clear()
        return known
