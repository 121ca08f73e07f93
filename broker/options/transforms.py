"""Transforms of subjects, as mappings and imports name them: ``b.$2.{{partition(3,1)}}`` for what ``a.*.*`` matches.

A destination is compiled into steps, one a token, which the data plane applies to each message
(``csrc/transform.h``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from broker.options.gotext import GoError, parse_int


class StepKind(IntEnum):
    """What makes one token of the destination. The data plane has the same numbers."""

    TEXT = 0
    WILDCARD = 1
    PARTITION = 2
    SPLIT = 3
    SPLIT_FROM_LEFT = 4
    SPLIT_FROM_RIGHT = 5
    SLICE_FROM_LEFT = 6
    SLICE_FROM_RIGHT = 7
    RANDOM = 8


@dataclass(slots=True, frozen=True)
class Step:
    """``tokens`` are positions in the source subject, from 0; ``number`` and ``text`` depend on the kind."""

    kind: StepKind
    text: str = ""
    tokens: tuple[int, ...] = ()
    number: int = 0


@dataclass(slots=True)
class Transform:
    """``rest``: the position from which the source's tokens follow the steps; -1: none do."""

    steps: list[Step] = field(default_factory=list)
    rest: int = -1


class TransformError(ValueError):
    """Why a destination does not fit its source, in nats-server's words."""


INVALID: Final = "invalid mapping destination"
_NOT_ENOUGH: Final = "not enough arguments passed to the function"
_TOO_MANY: Final = "too many arguments passed to the function"
_WRONG_ARGUMENT: Final = "function argument is invalid or in the wrong format"
_OUT_OF_RANGE: Final = "wildcard index out of range"
_ONLY_WILDCARD: Final = "the only mapping function allowed for import transforms is {{Wildcard()}}"
_INT32_MAX: Final = (1 << 31) - 1
_BLANKS: Final = re.compile(r"[\t\n\f\r ]")
_COMMA: Final = re.compile(r",\s*")
_FUNCTIONS: Final = tuple(
    (kind, re.compile(r"{{\s*" + "".join(f"[{word[0]}{word[0].upper()}]{word[1:]}" for word in words) + r"\s*\((.*)\)\s*}}"))
    for kind, words in (
        (StepKind.WILDCARD, ("wildcard",)),
        (StepKind.PARTITION, ("partition",)),
        (StepKind.SPLIT_FROM_LEFT, ("split", "from", "left")),
        (StepKind.SPLIT_FROM_RIGHT, ("split", "from", "right")),
        (StepKind.SLICE_FROM_LEFT, ("slice", "from", "left")),
        (StepKind.SLICE_FROM_RIGHT, ("slice", "from", "right")),
        (StepKind.SPLIT, ("split",)),
        (StepKind.RANDOM, ("random",)),
    )
)  # fmt: skip


def compile_transform(source: str, destination: str, strict: bool = False) -> Transform:
    """The transform of what ``source`` matches to ``destination``. Raises TransformError.

    ``strict``: as for imports, whose destinations use every wildcard and no other function.
    """
    places = [index for index, token in enumerate(source.split(".")) if token == "*"]
    tokens = destination.split(".")
    if not strict:
        _check_tokens(tokens)
    both_open = source.split(".")[-1] == ">", tokens[-1] == ">"
    if "*" in tokens or "" in tokens or ">" in tokens[:-1] or both_open[0] != both_open[1]:
        raise TransformError("invalid subject")
    transform = Transform()
    if both_open[0]:
        transform.rest = source.count(".")
        tokens.pop()
    used = 0
    for token in tokens:
        kind, indexes, number, text = _read_token(token)
        if strict and kind not in (StepKind.TEXT, StepKind.WILDCARD) and places:
            raise TransformError(f"{INVALID}: {_ONLY_WILDCARD} in {token}")
        used += len(indexes)
        for index in indexes:
            if index > len(places):
                where = f"{token}: [{index}]" if places or both_open[0] else token
                raise TransformError(f"{INVALID}: {_OUT_OF_RANGE} in {where}")
        # An index that names no wildcard, such as 0, means the first token.
        positions = tuple(places[index - 1] if index > 0 else 0 for index in indexes)
        transform.steps.append(Step(kind, text, positions, number))
    if strict and used < len(places):
        raise TransformError(f"{INVALID}: not using all of the token wildcard(s) in {destination}")
    return transform


def _check_tokens(tokens: list[str]) -> None:
    for index, token in enumerate(tokens):
        if len(token) > 4 and token.startswith("{{") and token.endswith("}}"):
            if not any(pattern.search(token) for _, pattern in _FUNCTIONS):
                raise TransformError(f"{INVALID}: unknown function in {token}")
        elif not token or ">" in tokens[:index] or _BLANKS.search(token):
            raise TransformError(f"{INVALID}: invalid transform")


def _read_token(token: str) -> tuple[StepKind, list[int], int, str]:
    """(kind, wildcard numbers, number, text) of one token of a destination."""
    if len(token) > 1 and token[0] == "$":
        try:
            return StepKind.WILDCARD, [parse_int(token[1:])], 0, ""
        except GoError:
            return StepKind.TEXT, [], 0, token  # as in $SYS
    if not (len(token) > 3 and token.startswith("{{") and token.endswith("}}")):
        return StepKind.TEXT, [], 0, token
    for kind, pattern in _FUNCTIONS:
        match = pattern.search(token)
        if match:
            return _read_function(kind, _COMMA.split(match[1]), token)
    raise TransformError(f"{INVALID}: unknown function in {token}")


def _read_function(kind: StepKind, arguments: list[str], token: str) -> tuple[StepKind, list[int], int, str]:
    def integer(text: str) -> int:
        try:
            value = parse_int(text.strip(" "))
        except GoError:
            raise TransformError(f"{INVALID}: {_WRONG_ARGUMENT} in {token}") from None
        if value > _INT32_MAX:
            raise TransformError(f"{INVALID}: {_WRONG_ARGUMENT} in {token}")
        return value

    if kind is StepKind.PARTITION:
        return kind, [integer(text) for text in arguments[1:]], integer(arguments[0]), ""
    wanted = 1 if kind in (StepKind.WILDCARD, StepKind.RANDOM) else 2
    if len(arguments) < wanted or (kind is StepKind.WILDCARD and arguments == [""]):
        raise TransformError(f"{INVALID}: {_NOT_ENOUGH} in {token}")
    if len(arguments) > wanted:
        raise TransformError(f"{INVALID}: {_TOO_MANY} in {token}")
    if kind is StepKind.RANDOM:
        return kind, [], integer(arguments[0]), ""
    index = integer(arguments[0])
    if kind is StepKind.WILDCARD:
        return kind, [index], 0, ""
    if kind is StepKind.SPLIT:
        if " " in arguments[1] or "." in arguments[1]:
            raise TransformError(f"{INVALID}: {_WRONG_ARGUMENT} in {token}")
        return kind, [index], 0, arguments[1]
    return kind, [index], integer(arguments[1]), ""


def numbered(subject: str) -> str:
    """``subject`` with its wildcards as references: ``a.*.*`` is ``a.$1.$2``."""
    tokens = subject.split(".")
    count = 0
    for index, token in enumerate(tokens):
        if token == "*":
            count += 1
            tokens[index] = f"${count}"
    return ".".join(tokens)
