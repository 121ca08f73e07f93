"""Collect-requests: one process asks all workers something, each answers in its own time.

A worker binds a ROUTER; who asks connects a DEALER to each. A request is a JSON object, an answer a number of parts: what a part
holds is between the two ends. The worker makes one part at a time and serves its clients in between, so that no question,
however large its answer, holds up a message.

    request   json
    answer    number of the request, 1 if this is the last part | part

One request may wait for its answer until there is something to say (``Answers.say``), and is then made anew
(``Questions.follow``): so a worker tells what happens, and never more than is listened to.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import zmq

_HEAD: Final = struct.Struct("=QB")

Request = dict[str, Any]
Hear = Callable[[int, int, bytes, Callable[[], None]], None]


def collect_address(run_dir: str, index: int, serial: int) -> str:
    """Where a worker takes collect-requests."""
    return f"ipc://{Path(run_dir) / f'w{index}.{serial}.col'}"


class Answers:
    """A worker's end. ``answer`` makes the parts for a request, each with a bounded amount of work."""

    __slots__ = ("_answer", "_context", "_jobs", "_listener", "_own", "_router")

    def __init__(
        self,
        run_dir: str,
        index: int,
        serial: int,
        answer: Callable[[Request], Iterator[bytes] | None],
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        """Bind the socket, in ``context`` if there is one already. Raises zmq.ZMQError."""
        self._answer = answer
        self._own = context is None
        self._context = context or zmq.Context(io_threads=1)
        self._jobs: deque[tuple[bytes, int, Iterator[bytes]]] = deque()
        self._listener: tuple[bytes, int] | None = None
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.SNDHWM, 0)  # bounded by what is asked for at one time
        self._router.set(zmq.LINGER, 0)
        self._router.set(zmq.ROUTER_MANDATORY, 1)  # we want to know who is gone
        self._router.bind(collect_address(run_dir, index, serial))

    def fileno(self) -> int:
        """Readable (edge-triggered) when a request may have come."""
        return int(self._router.get(zmq.FD))

    def receive(self) -> bool:
        """Take all requests that have come. Is there something to answer?"""
        while True:
            try:
                who, body = self._router.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return bool(self._jobs)
            request = json.loads(body)
            parts = self._answer(request)
            if parts is None:
                self._listener = who, int(request["id"])
            else:
                self._jobs.append((who, int(request["id"]), parts))

    def step(self) -> bool:
        """Make and send one part. Is there more to do?"""
        if self._jobs:
            who, number, parts = self._jobs.popleft()
            part = next(parts, None)
            head = _HEAD.pack(number, part is None)
            try:
                self._router.send_multipart([who, head, part or b""], zmq.NOBLOCK)
            except zmq.ZMQError:
                part = None  # nobody listens any more
            if part is not None:
                self._jobs.append((who, number, parts))
        return self.receive()  # the descriptor may not say so again after a send

    @property
    def listened(self) -> bool:
        """Does somebody wait for what we may say?"""
        return self._listener is not None

    def say(self, part: bytes) -> bool:
        """Answer whoever has been waiting for this; False: it is gone. Afterwards ``receive`` has to be called."""
        if self._listener is None:
            return False
        who, number = self._listener
        self._listener = None
        try:
            self._router.send_multipart([who, _HEAD.pack(number, True), part], zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    @property
    def busy(self) -> bool:
        """Is an answer under way?"""
        return bool(self._jobs)

    def close(self) -> None:
        """Close the socket; does not wait for what is queued."""
        self._jobs.clear()
        self._router.close()
        if self._own:
            self._context.term()


@dataclass(slots=True)
class _Worker:
    index: int
    serial: int
    dealer: zmq.Socket[bytes]
    open: dict[int, _Answer] = field(default_factory=dict)
    followed: int = 0  # the number of the request that it answers when it likes


@dataclass(slots=True)
class _Answer:
    parts: list[bytes]
    done: asyncio.Future[bool]  # False: the worker is gone


class Questions:
    """The asking end, in an event loop."""

    def __init__(self, run_dir: str) -> None:
        self._run_dir = run_dir
        self._loop = asyncio.get_running_loop()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._workers: dict[int, _Worker] = {}
        self._number = 0
        self._follow: tuple[Request, Hear] | None = None

    def follow(self, request: Request, hear: Hear) -> None:
        """Ask all workers, those that are still to come, too, and ask again after each answer.

        ``hear`` is called with a worker's index, its start number, what it said (nothing: it is gone, and says no more), and what
        has to be called before it is asked for more.
        """
        self._follow = request, hear
        for worker in self._workers.values():
            self._ask_more(worker)

    def unfollow(self) -> None:
        """Hear nothing more."""
        self._follow = None

    def meet(self, workers: Iterable[tuple[int, int]]) -> None:
        """These (index, serial) are all there are."""
        alive = dict(workers)
        for index, known in list(self._workers.items()):
            if alive.get(index) != known.serial:
                self._drop(index)
        for index, serial in alive.items():
            if index not in self._workers:
                dealer = self._context.socket(zmq.DEALER)
                dealer.set(zmq.LINGER, 0)
                dealer.set(zmq.RCVHWM, 0)
                dealer.connect(collect_address(self._run_dir, index, serial))
                worker = self._workers[index] = _Worker(index, serial, dealer)
                self._loop.add_reader(int(dealer.get(zmq.FD)), self._drain, worker)
                self._ask_more(worker)

    def workers(self) -> dict[int, int]:
        """Who there is: index to serial."""
        return {index: worker.serial for index, worker in sorted(self._workers.items())}

    async def ask(self, request: Request, timeout: float = 2.0) -> dict[int, list[bytes]]:
        """The answers of all workers, by index; who is gone, or is silent for ``timeout`` seconds, is left out."""
        return await self.ask_each(dict.fromkeys(self._workers, request), timeout)

    async def ask_each(self, requests: dict[int, Request], timeout: float = 2.0) -> dict[int, list[bytes]]:
        """The answers of these workers, each to its own request."""
        asked: dict[int, tuple[_Worker, int, _Answer]] = {}
        for index, request in requests.items():
            worker = self._workers.get(index)
            if worker is None:
                continue
            answer = worker.open[self._number + 1] = _Answer([], self._loop.create_future())
            asked[index] = worker, self._number + 1, answer
            if not self._send(worker, request):
                answer.done.set_result(False)
        waiting = [answer for _, _, answer in asked.values()]
        while waiting:
            heard = [len(answer.parts) for answer in waiting]
            await asyncio.wait([answer.done for answer in waiting], timeout=timeout)
            waiting = [
                answer
                for answer, before in zip(waiting, heard, strict=True)
                if not answer.done.done() and len(answer.parts) > before
            ]
        for worker, number, _ in asked.values():
            worker.open.pop(number, None)
        return {
            index: answer.parts
            for index, (_, _, answer) in asked.items()
            if answer.done.done() and answer.done.result()
        }

    def _drain(self, worker: _Worker) -> None:
        while not worker.dealer.closed:
            try:
                head, part = worker.dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            number, last = _HEAD.unpack(head)
            if number == worker.followed and self._follow is not None:
                self._follow[1](worker.index, worker.serial, part, lambda: self._ask_more(worker))
                continue
            answer = worker.open.get(number)
            if answer is None:
                continue  # nobody waits for it any more
            if not last:
                answer.parts.append(part)
            elif not answer.done.done():
                answer.done.set_result(True)

    def _ask_more(self, worker: _Worker) -> None:
        if self._follow is None or worker.dealer.closed:
            return
        worker.followed = self._number + 1
        self._send(
            worker, self._follow[0]
        )  # else it has taken nothing for long, and will soon be taken for dead

    def tell(self, index: int, request: Request) -> bool:
        """A request whose answer does not matter. False: it was not sent."""
        worker = self._workers.get(index)
        return worker is not None and self._send(worker, request)

    def _send(self, worker: _Worker, request: Request) -> bool:
        """Send a request under the next number; False: it takes no more."""
        self._number += 1
        try:
            worker.dealer.send(json.dumps({**request, "id": self._number}).encode(), zmq.NOBLOCK)
        except zmq.Again:
            return False
        self._loop.call_soon(self._drain, worker)
        return True

    def _drop(self, index: int) -> None:
        worker = self._workers.pop(index)
        self._drain(worker)  # what it said last
        if self._follow is not None:
            self._follow[1](index, worker.serial, b"", lambda: None)
        self._loop.remove_reader(int(worker.dealer.get(zmq.FD)))
        worker.dealer.close()
        for answer in worker.open.values():
            if not answer.done.done():
                answer.done.set_result(False)

    def close(self) -> None:
        """Close all sockets."""
        for index in list(self._workers):
            self._drop(index)
        self._context.term()
