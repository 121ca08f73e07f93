"""A child's part of a reload, in two steps.

"prepare" brings other options, and everything that they need and that might not be there is built, a little at a time where
that takes long, so that clients do not wait for it; "commit" puts it in force, which cannot fail; "abort" throws it away. The
supervisor says "commit" only when all children could build theirs.
It hears that a child is done when all others know what that has changed for them (``settled``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from broker.launch import read_options
from broker.options import Options

Built = TypeVar("Built")
STEP_SECONDS: Final = 0.002  # of building at once; then clients have their turn


class TwoStep(Generic[Built]):
    """``build`` may raise whatever it likes; ``apply`` must not."""

    __slots__ = ("_apply", "_build", "_building", "_discard", "_done", "_prepared", "_settled", "_tell")

    def __init__(
        self,
        build: Callable[[Options], Built | Generator[None, None, Built]],
        apply: Callable[[Options, Built], dict[str, object] | None],
        tell: Callable[[dict[str, object]], None],
        discard: Callable[[], None] | None = None,
        settled: Callable[[], bool] | None = None,
    ) -> None:
        """``tell`` answers the supervisor, also with what ``apply`` returns; ``discard`` throws away what was built."""
        self._discard = discard
        self._settled = settled
        self._done: dict[str, object] | None = None
        self._build = build
        self._apply = apply
        self._tell = tell
        self._prepared: tuple[int, Options, Built] | None = None
        self._building: tuple[int, Options, Generator[None, None, Built]] | None = None

    def obey(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> bool:
        """Do what the supervisor says; False if it is about something else."""
        match message["op"]:
            case "prepare":
                self._prepare(int(message["id"]), descriptors[0])
            case "commit":
                self._commit(int(message["id"]))
            case "abort":
                self._forget()
            case _:
                return False
        return True

    def _prepare(self, number: int, memory: int) -> None:
        self._forget()
        try:
            options = read_options(memory)
            built = self._build(options)
        except Exception as failure:  # whatever it is: all go on as they are
            self._answer(number, f"{type(failure).__name__}: {failure}")
            return
        if isinstance(built, Generator):
            self._building = (number, options, built)
            self._go_on()
        else:
            self._prepared = (number, options, built)
            self._answer(number, "")

    def _go_on(self) -> None:
        """Take some of the steps, and come back for the next ones."""
        if self._building is None:
            return
        number, options, steps = self._building
        until = time.monotonic() + STEP_SECONDS
        error = ""
        try:
            while time.monotonic() < until:
                next(steps)
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        except StopIteration as end:
            self._prepared = (number, options, end.value)
        except Exception as failure:  # as above
            error = f"{type(failure).__name__}: {failure}"
        self._building = None
        self._answer(number, error)

    def _answer(self, number: int, error: str) -> None:
        self._tell({"op": "prepared", "id": number, "error": error})

    def _commit(self, number: int) -> None:
        prepared, self._prepared = self._prepared, None
        self._done = {"op": "committed", "id": number}
        if prepared is not None and prepared[0] == number:
            self._done |= self._apply(prepared[1], prepared[2]) or {}
        self.settle()

    def settle(self) -> None:
        """Say that a commit is done, if there is one of which nobody has to be told any more."""
        if self._done is not None and (self._settled is None or self._settled()):
            done, self._done = self._done, None
            self._tell(done)

    def _forget(self) -> None:
        if self._building is not None:
            self._building[2].close()
            self._building = None
        if self._prepared is not None and self._discard is not None:
            self._discard()
        self._prepared = None
