"""What accounts offer to and take from each other: whether it is allowed, and what it means for subjects.

An import is judged in nats-server's order: is it authorized, does it form a cycle, is it the second of its kind, do
its subjects fit. What is no subject is told of first for a service, and is an unauthorized stream. Accounts are taken
in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.options.authorization import is_subject
from broker.options.gotext import quote
from broker.options.sections import AccountOptions, Export, Import
from broker.options.transforms import Step, StepKind, Transform, TransformError, compile_transform, numbered

_MAX_DEPTH: Final = 1024  # accounts that a search for cycles looks at
_CYCLE: Final = "import forms a cycle"
_TOO_DEEP: Final = "search cycle depth exhausted"
_CONTROL: Final = re.compile("[\x00-\x20\x7f]")


@dataclass(slots=True, frozen=True)
class StreamShape:
    """``local``: the importer's pattern; ``show`` makes its subject of the exporter's, ``find`` the reverse."""

    local: str
    show: Transform | None
    find: Transform | None


@dataclass(slots=True, frozen=True)
class ServiceShape:
    """``local``: the pattern of requests; ``target`` makes the exporter's subject of one. None: it is the same."""

    local: str
    target: Transform | None


def has_wildcard(subject: str) -> bool:
    """Whether any token is one."""
    tokens = subject.split(".")
    return "*" in tokens or ">" in tokens


def covers(pattern: str, subject: str) -> bool:
    """Whether every subject that ``subject`` matches is one that ``pattern`` matches."""
    wanted, tokens = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return len(tokens) > index
        if index >= len(tokens) or tokens[index] == ">":
            return False
        if token not in ("*", tokens[index]):
            return False
    return len(wanted) == len(tokens)


def collide(one: str, other: str) -> bool:
    """Whether some subject is matched by both."""
    return tokens_collide(one.split("."), other.split("."))


def tokens_collide(first: list[str], second: list[str]) -> bool:
    """The same of subjects that have been taken apart."""
    for left, right in zip(first, second, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(first) == len(second)


def _unnumbered(subject: str) -> str:
    """``subject`` as a pattern: references to wildcards become wildcards."""
    return ".".join("*" if _reference(token) else token for token in subject.split("."))


def _reference(token: str) -> int:
    """The number of the wildcard that ``token`` stands for; 0 if it is none."""
    try:
        steps = compile_transform("*." * 64 + "*", token).steps
    except TransformError:
        return 0
    return steps[0].tokens[0] + 1 if steps and steps[0].kind is StepKind.WILDCARD else 0


def _literal(subject: str) -> Transform:
    return Transform([Step(StepKind.TEXT, token) for token in subject.split(".")])


def _reversed(source: str, destination: str) -> Transform:
    """The way back: ``destination``, in which every wildcard of ``source`` is referred to, to ``source``."""
    order = [number for number in map(_reference, destination.split(".")) if number]
    tokens = source.split(".")
    count = 0
    for index, token in enumerate(tokens):
        if token == "*":
            count += 1
            tokens[index] = f"${order.index(count) + 1 if count in order else 1}"
    return compile_transform(_unnumbered(destination), ".".join(tokens))


def stream_subject(found: Import) -> str:
    """The importer's name of a stream, as the configuration states it."""
    if found.prefix:
        return f"{found.prefix.removesuffix('.')}.{found.subject}"
    return found.to or found.subject


def stream_shape(found: Import) -> StreamShape:
    """What a stream import does to subjects. Raises TransformError."""
    remote, local = found.subject, stream_subject(found)
    if local == remote:
        return StreamShape(local, None, None)
    if not has_wildcard(remote):
        return StreamShape(local, _literal(local), _literal(remote))
    try:
        show = compile_transform(remote, numbered(local), strict=True)
    except TransformError as error:
        raise TransformError(_transform_text("stream", remote, local, error)) from None
    return StreamShape(_unnumbered(local), show, _reversed(remote, numbered(local)))


def service_shape(found: Import) -> ServiceShape:
    """What a service import does to subjects. Raises TransformError."""
    remote, local = found.subject, found.to or found.subject
    if local == remote:
        return ServiceShape(local, None)
    if not has_wildcard(remote):
        return ServiceShape(local, _literal(remote))
    try:
        compile_transform(remote, numbered(local), strict=True)
    except TransformError as error:
        raise TransformError(_transform_text("service", local, remote, error)) from None
    return ServiceShape(_unnumbered(local), _reversed(remote, numbered(local)))


def _transform_text(kind: str, source: str, destination: str, error: TransformError) -> str:
    return (
        f"failed to create mapping transform for {kind} import subject from {quote(source)} "
        f"to {quote(destination)}: {error}"
    )


# -- who may import -------------------------------------------------------------------------------------------------


def matching_export(exporter: AccountOptions, found: Import) -> Export | None:
    """The export that covers an import: that of exactly its subject, or else the first of a wider one."""
    offers = [export for export in exporter.exports if export.kind == found.kind]
    exact = [export for export in offers if export.subject == found.subject]
    wider = [export for export in offers if covers(export.subject, found.subject)]
    # Of two exports of one subject the later one has replaced the other.
    return exact[-1] if exact else next(iter(wider), None)


def authorized(export: Export, importer: AccountOptions, found: Import) -> bool:
    """Whether the terms of an export allow this import. Activation tokens are to be verified here, too."""
    position = export.account_token_position
    if position > 0:
        tokens = found.subject.split(".")
        exact = export.subject == found.subject  # then no token says who imports
        return not exact and position <= len(tokens) and tokens[position - 1] == importer.name
    return not export.accounts or importer.name in export.accounts


def wrong_export(export: Export) -> str:
    """Why this cannot be exported; empty if it can."""
    position = export.account_token_position
    if position:
        tokens = export.subject.split(".")
        if position < 0 or position > len(tokens) or tokens[position - 1] != "*":
            return f"Error adding {export.kind} export {quote(export.subject)}: sublist: invalid subject"
    return ""


def wrong_latency(export: Export, offered: Iterable[str]) -> str:
    """Why the results of measuring this service cannot go where they are meant to; empty if they can.

    ``offered``: the account's services.
    """
    results = export.latency_subject
    if not is_subject(results) or has_wildcard(results) or any(covers(one, results) for one in offered):
        return "invalid publish subject"
    return "" if export.response_type == "single" else "bad service response type"


class Sharing:
    """The imports of all accounts, accepted one after the other."""

    __slots__ = ("_accepted", "_accounts")

    def __init__(self, accounts: Iterable[AccountOptions]) -> None:
        self._accounts = {account.name: account for account in accounts}
        self._accepted: dict[tuple[str, str], list[Import]] = {}  # (kind, importer)

    def add(self, importer: AccountOptions, found: Import) -> str:
        """Accept an import from an account that exists; why not, if it is refused."""
        error = self._refusal(importer, found)
        if error:
            return f"Error adding {found.kind} import {quote(found.subject)}: {error}"
        self._accepted.setdefault((found.kind, importer.name), []).append(found)
        return ""

    def _refusal(self, importer: AccountOptions, found: Import) -> str:
        if found.kind == "service" and not (
            is_subject(found.subject) and is_subject(found.to or found.subject)
        ):
            return "sublist: invalid subject"
        export = matching_export(self._accounts[found.account], found) if is_subject(found.subject) else None
        if export is None or not authorized(export, importer, found):
            return f"{found.kind} import not authorized"
        if found.kind == "stream" and has_wildcard(found.prefix):
            return "stream import prefix can not contain wildcard tokens"
        if found.kind == "stream":
            local = stream_subject(found)
            cycle = self._stream_cycle(self._accounts[found.account], local, {importer.name})
        else:
            local = found.to or found.subject
            local = _unnumbered(local) if has_wildcard(found.subject) else local
            cycle = self._service_cycle(found.account, local, {importer.name})
        if cycle:
            return cycle
        own = self._accepted.get((found.kind, importer.name), ())
        if found.kind == "stream" and any(
            (one.account, one.subject) == (found.account, found.subject) for one in own
        ):
            return "stream import already exists"
        try:
            shape = stream_shape(found) if found.kind == "stream" else service_shape(found)
        except TransformError as error:
            return str(error)
        if found.kind == "stream" and _CONTROL.search(shape.local):
            # nats-server takes these, and then writes them into the lines that it sends.
            return "invalid subject"
        return ""

    # Both searches go down as far as chains of imports are long: a list holds what a recursion would. Chains that part and meet
    # again are many; where one has been without finding anything, no other one will: what was accepted before has no cycle.

    def _service_cycle(self, account: str, local: str, visited: set[str]) -> str:
        below = [(account, local, iter(self._accepted.get(("service", account), ())))]
        seen = {(account, local)}
        while below:
            account, local, imports = below[-1]
            one = next((one for one in imports if collide(local, one.subject)), None)
            if one is None:
                below.pop()
                if below:
                    visited.discard(account)
                continue
            if one.account in visited:
                return _CYCLE
            own = service_shape(one).local
            narrower = own if covers(local, own) else local
            if (one.account, narrower) in seen:
                continue
            seen.add((one.account, narrower))
            visited.add(account)
            if len(visited) >= _MAX_DEPTH:
                return _TOO_DEEP
            below.append((one.account, narrower, iter(self._accepted.get(("service", one.account), ()))))
        return ""

    def _stream_cycle(self, account: AccountOptions, local: str, visited: set[str]) -> str:
        below = [(account.name, local, iter(self._streams_under(account, local, visited)))]
        seen = {(account.name, local)}
        while below:
            name, local, imports = below[-1]
            one = next((one for one in imports if collide(local, stream_shape(one).local)), None)
            if one is None:
                below.pop()
                visited.discard(name)  # it may be reached in another way, too
                continue
            if one.account in visited:
                return _CYCLE
            own = stream_shape(one).local
            narrower = own if covers(local, own) else local
            if (one.account, narrower) in seen:
                continue
            seen.add((one.account, narrower))
            if len(visited) >= _MAX_DEPTH:
                return _TOO_DEEP
            exporter = self._accounts[one.account]
            below.append((one.account, narrower, iter(self._streams_under(exporter, narrower, visited))))
        return ""

    def _streams_under(self, account: AccountOptions, local: str, visited: set[str]) -> Iterable[Import]:
        """The imports by which an account may have what it exports as ``local``; notes that it was visited."""
        if not any(export.kind == "stream" and covers(export.subject, local) for export in account.exports):
            return ()
        visited.add(account.name)
        return self._accepted.get(("stream", account.name), ())
