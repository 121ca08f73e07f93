"""Questions to all workers, and their answers in parts."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from broker.mesh.collect import Answers, Questions, Request

SOON = 0.3


def parts(request: Request) -> Iterator[bytes]:
    """As many parts as are asked for."""
    for number in range(request["count"]):
        yield b"%d:%d" % (request["count"], number)


class Worker:
    """Answers in the test's own event loop; `lazy`: only when told to, `step` by step."""

    def __init__(self, folder: str, index: int, serial: int, lazy: bool = False) -> None:
        self.answers = Answers(folder, index, serial, parts)
        self._loop = asyncio.get_running_loop()
        if not lazy:
            self._loop.add_reader(self.answers.fileno(), self._asked)

    def _asked(self) -> None:
        if self.answers.receive():
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self.answers.step():
            self._loop.call_soon(self._step)

    def close(self) -> None:
        self._loop.remove_reader(self.answers.fileno())
        self.answers.close()


@asynccontextmanager
async def scene(count: int, lazy: int = -1) -> AsyncIterator[tuple[str, list[Worker], Questions]]:
    """Some workers that have been met, of which one may be lazy."""
    with tempfile.TemporaryDirectory(prefix="collect-") as folder:
        workers = [Worker(folder, index, index + 1, index == lazy) for index in range(count)]
        questions = Questions(folder)
        questions.meet((index, index + 1) for index in range(count))
        try:
            yield folder, workers, questions
        finally:
            questions.close()
            for worker in workers:
                worker.close()


@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_all_answer(count: int) -> None:
    async def run() -> None:
        async with scene(3) as (_, _, questions):
            answers = await questions.ask({"count": count})
            assert answers == {index: [b"%d:%d" % (count, n) for n in range(count)] for index in range(3)}

    asyncio.run(run())


def test_questions_at_the_same_time() -> None:
    async def run() -> None:
        async with scene(2) as (_, _, questions):
            answers = await asyncio.gather(*(questions.ask({"count": count}) for count in range(20)))
            for count, answer in enumerate(answers):
                assert answer == {index: [b"%d:%d" % (count, n) for n in range(count)] for index in range(2)}

    asyncio.run(run())


def test_each_its_own() -> None:
    async def run() -> None:
        async with scene(3) as (_, _, questions):
            answers = await questions.ask_each({0: {"count": 1}, 2: {"count": 2}, 9: {"count": 3}})
            assert {index: len(answer) for index, answer in answers.items()} == {0: 1, 2: 2}

    asyncio.run(run())


def test_the_silent_are_left_out() -> None:
    async def run() -> None:
        async with scene(2, lazy=1) as (_, _, questions):
            assert list(await questions.ask({"count": 2}, SOON)) == [0]

    asyncio.run(run())


def test_whoever_goes_on_is_waited_for() -> None:
    """However long it takes in all."""

    async def run() -> None:
        async with scene(1, lazy=0) as (_, workers, questions):
            asked = asyncio.create_task(questions.ask({"count": 6}, SOON))
            begun = asyncio.get_running_loop().time()
            while not asked.done():
                workers[0].answers.receive()
                workers[0].answers.step()
                await asyncio.sleep(SOON / 2)
            assert len((await asked)[0]) == 6
            assert asyncio.get_running_loop().time() - begun > 2 * SOON

    asyncio.run(run())


def test_the_dead_are_not_waited_for() -> None:
    async def run() -> None:
        async with scene(2, lazy=1) as (folder, _workers, questions):
            asked = asyncio.create_task(questions.ask({"count": 2}, 60.0))
            await asyncio.sleep(0)
            questions.meet([(0, 1)])
            async with asyncio.timeout(10.0):
                assert list(await asked) == [0]
            successor = Worker(folder, 1, 7)
            questions.meet([(0, 1), (1, 7)])
            assert questions.workers() == {0: 1, 1: 7}
            assert list(await questions.ask({"count": 1})) == [0, 1]
            successor.close()

    asyncio.run(run())


def test_who_is_followed_says_what_happens() -> None:
    """One answer for each request, which is made when the last answer has been dealt with; a death is told last."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="collect-") as folder:
            loop = asyncio.get_running_loop()
            speaker = Answers(folder, 0, 1, lambda request: None)
            heard: asyncio.Queue[tuple[int, int, bytes, Callable[[], None]]] = asyncio.Queue()
            questions = Questions(folder)
            questions.follow({"op": "facts"}, lambda *all: heard.put_nowait(all))
            asked = asyncio.Event()

            def receive() -> None:
                speaker.receive()
                if speaker.listened:
                    asked.set()

            loop.add_reader(speaker.fileno(), receive)
            assert not speaker.say(b"too early")
            questions.meet([(0, 1)])
            async with asyncio.timeout(10.0):
                for word in (b"one", b"two"):
                    await asked.wait()
                    asked.clear()
                    assert speaker.say(word) and not speaker.say(b"not asked for")
                    receive()
                    index, serial, part, more = await heard.get()
                    assert (index, serial, part) == (0, 1, word)
                    more()
                await asked.wait()
                assert speaker.say(b"last")
                await asyncio.sleep(SOON)
                questions.meet([])
                assert [(await heard.get())[2] for _ in range(2)] == [b"last", b""]
                assert not questions.tell(0, {"op": "publish"})
            loop.remove_reader(speaker.fileno())
            questions.close()
            speaker.close()

    asyncio.run(run())


def test_who_is_gone_hears_nothing() -> None:
    """Then it can be told to the next one who asks."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(prefix="collect-") as folder:
            speaker = Answers(folder, 0, 1, lambda request: None)
            questions = Questions(folder)
            questions.follow({"op": "facts"}, lambda *all: None)
            questions.meet([(0, 1)])
            async with asyncio.timeout(10.0):
                while not speaker.listened:
                    speaker.receive()
                    await asyncio.sleep(0.01)
                questions.close()
                await asyncio.sleep(SOON)
                assert speaker.listened and not speaker.say(b"to nobody") and not speaker.listened
            speaker.close()

    asyncio.run(run())
