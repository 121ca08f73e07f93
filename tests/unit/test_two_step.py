"""A child's part of a reload: built in steps, put in force once, or thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from broker.launch import write_options
from broker.options import Options
from broker.reload import TwoStep


class Child:
    """Builds in ``steps`` steps, of which the one numbered ``fails`` does; remembers what was done."""

    def __init__(self, steps: int, fails: int = -1) -> None:
        self.done: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.settled = True
        self._steps, self._fails = steps, fails
        self.two_step = TwoStep(
            self._build,
            self._apply,
            self.told.append,
            lambda: self.done.append("discard"),
            lambda: self.settled,
        )

    def _build(self, options: Options) -> Generator[None, None, str]:
        try:
            for step in range(self._steps):
                if step == self._fails:
                    raise MemoryError
                yield
        except GeneratorExit:
            self.done.append("closed")
            raise
        return options.server_name

    def _apply(self, options: Options, built: str) -> dict[str, object]:
        self.done.append(f"apply {built}")
        return {"more": options.max_payload}

    def prepare(self, number: int) -> None:
        """The supervisor's word."""
        memory = write_options(Options(server_name=f"n{number}", max_payload=number))
        self.two_step.obey({"op": "prepare", "id": number}, [memory])

    async def answer(self) -> dict[str, Any]:
        """The next answer."""
        async with asyncio.timeout(30):
            while not self.told:
                await asyncio.sleep(0)
        return self.told.pop(0)


@pytest.mark.parametrize("steps", [0, 1, 100_000])
def test_built_and_put_in_force(steps: int) -> None:
    async def run() -> None:
        child = Child(steps)
        child.prepare(7)
        assert await child.answer() == {"op": "prepared", "id": 7, "error": ""}
        child.settled = False
        child.two_step.obey({"op": "commit", "id": 7}, [])
        assert child.done == ["apply n7"] and not child.told
        child.settled = True
        child.two_step.settle()
        child.two_step.settle()
        assert child.told == [{"op": "committed", "id": 7, "more": 7}]

    asyncio.run(run())


def test_a_step_that_fails() -> None:
    async def run() -> None:
        child = Child(100_000, fails=99_999)
        child.prepare(7)
        assert await child.answer() == {"op": "prepared", "id": 7, "error": "MemoryError: "}
        child.two_step.obey({"op": "abort", "id": 7}, [])
        assert child.done == []

    asyncio.run(run())


def test_given_up_half_way_and_begun_again() -> None:
    async def run() -> None:
        child = Child(1_000_000)
        child.prepare(7)
        child.two_step.obey({"op": "abort", "id": 7}, [])
        assert child.done == ["closed"] and not child.told
        child.prepare(8)
        child.prepare(9)
        assert child.done == ["closed", "closed"]
        assert (await child.answer())["id"] == 9
        child.two_step.obey({"op": "abort", "id": 9}, [])
        assert child.done == ["closed", "closed", "discard"]
        child.two_step.obey({"op": "commit", "id": 9}, [])
        assert child.done[3:] == [] and child.told[-1] == {"op": "committed", "id": 9}

    asyncio.run(run())
