"""A child's part of a reload, in two steps.

"prepare" brings other options, and everything that they need and that might not be there is built; "commit" puts it in
force, which cannot fail; "abort" throws it away. The supervisor says "commit" only when all children could build theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from broker.launch import read_options
from broker.options import Options

Built = TypeVar("Built")


class TwoStep(Generic[Built]):
    """``build`` may raise whatever it likes; ``apply`` must not."""

    __slots__ = ("_apply", "_build", "_prepared", "_tell")

    def __init__(
        self,
        build: Callable[[Options], Built],
        apply: Callable[[Options, Built], None],
        tell: Callable[[dict[str, object]], None],
    ) -> None:
        """``tell`` answers the supervisor."""
        self._build = build
        self._apply = apply
        self._tell = tell
        self._prepared: tuple[int, Options, Built] | None = None

    def obey(self, message: Mapping[str, Any], descriptors: Sequence[int]) -> bool:
        """Do what the supervisor says; False if it is about something else."""
        match message["op"]:
            case "prepare":
                self._prepare(int(message["id"]), descriptors[0])
            case "commit":
                self._commit(int(message["id"]))
            case "abort":
                self._prepared = None
            case _:
                return False
        return True

    def _prepare(self, number: int, memory: int) -> None:
        error = ""
        self._prepared = None
        try:
            options = read_options(memory)
            self._prepared = (number, options, self._build(options))
        except Exception as failure:  # whatever it is: all go on as they are
            error = f"{type(failure).__name__}: {failure}"
        self._tell({"op": "prepared", "id": number, "error": error})

    def _commit(self, number: int) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[0] == number:
            self._apply(prepared[1], prepared[2])
        self._tell({"op": "committed", "id": number})
