"""Collect-requests: one process asks all workers something, each answers in its own time.

A worker binds a ROUTER; who asks connects a DEALER to each. A request is a JSON object, an answer a number of parts: what a part
holds is between the two ends. The worker makes one part at a time and serves its clients in between, so that no question,
however large its answer, holds up a message.

    request   json
    answer    number of the request, 1 if this is the last part | part
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


def collect_address(run_dir: str, index: int, serial: int) -> str:
    """Where a worker takes collect-requests."""
    return f"ipc://{Path(run_dir) / f'w{index}.{serial}.col'}"


class Answers:
    """A worker's end. ``answer`` makes the parts for a request, each with a bounded amount of work."""

    __slots__ = ("_answer", "_context", "_jobs", "_own", "_router")

    def __init__(
        self,
        run_dir: str,
        index: int,
        serial: int,
        answer: Callable[[Request], Iterator[bytes]],
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        """Bind the socket, in ``context`` if there is one already. Raises zmq.ZMQError."""
        self._answer = answer
        self._own = context is None
        self._context = context or zmq.Context(io_threads=1)
        self._jobs: deque[tuple[bytes, int, Iterator[bytes]]] = deque()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.set(zmq.SNDHWM, 0)  # bounded by what is asked for at one time
        self._router.set(zmq.LINGER, 0)
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
            self._jobs.append((who, int(request["id"]), self._answer(request)))

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
    serial: int
    dealer: zmq.Socket[bytes]
    open: dict[int, _Answer] = field(default_factory=dict)


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
                worker = self._workers[index] = _Worker(serial, dealer)
                self._loop.add_reader(int(dealer.get(zmq.FD)), self._drain, worker)

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
            self._number += 1
            answer = worker.open[self._number] = _Answer([], self._loop.create_future())
            asked[index] = worker, self._number, answer
            try:
                worker.dealer.send(json.dumps({**request, "id": self._number}).encode(), zmq.NOBLOCK)
            except zmq.Again:
                answer.done.set_result(False)
            self._loop.call_soon(self._drain, worker)
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
            answer = worker.open.get(number)
            if answer is None:
                continue  # nobody waits for it any more
            if not last:
                answer.parts.append(part)
            elif not answer.done.done():
                answer.done.set_result(True)

    def _drop(self, index: int) -> None:
        worker = self._workers.pop(index)
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
