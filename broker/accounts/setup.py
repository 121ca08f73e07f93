"""From options to accounts in the data plane: at the start of a worker, and prepared for each reload."""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import replace
from typing import Final

from broker.accounts.automatic import automatic_imports, passes_on, system_exports
from broker.accounts.identity import request_labels
from broker.accounts.names import account_names, account_places, room_for, system_account
from broker.core import Core
from broker.options import Options
from broker.options.model import GLOBAL_ACCOUNT
from broker.options.sections import AccountOptions, Import, SubjectMapping
from broker.options.sharing import matching_export, service_shape, stream_shape
from broker.options.transforms import Transform, compile_transform, numbered
from broker.system.ids import server_hash


def set_up_accounts(core: Core, options: Options, server_name: str) -> Tables:
    """Make every account. MemoryError: no room."""
    steps = _steps(core, options, server_name, None, ())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            tables: Tables = end.value
            return tables


def _steps(
    core: Core, options: Options, server_name: str, old: Options | None, used: Collection[str]
) -> Generator[None, None, Tables]:
    """All of it, in small steps. ``old``: what is in force, if there is something; then this is prepared only, with all that
    the accounts ``used`` need."""
    numbers = {name: core.accounts.account(name) for name in account_names(options)}
    if old is None:  # it never changes
        core.accounts.set_system_account(numbers.get(system_account(options), -1))
    places = account_places(options)
    for name, number in numbers.items():
        core.accounts.account_limits(number, places[name])
    for account in options.accounts:
        limits = account.limits
        core.accounts.account_limits(
            numbers[account.name],
            places[account.name],
            limits.max_connections,
            limits.max_subscriptions,
            limits.max_payload,
        )
        core.accounts.account_trace(numbers[account.name], account.trace_dest, account.trace_sampling)
    yield
    exports = yield from _share(core, options, numbers, server_hash(server_name), old)
    core.accounts.labels(*request_labels(options, numbers, server_name))
    cluster = options.cluster.name if options.cluster is not None else ""
    tables = [(GLOBAL_ACCOUNT, options.mappings), *((one.name, one.mappings) for one in options.accounts)]
    for name, mappings in tables:
        yield
        for mapping in mappings:
            core.accounts.map_subject(numbers[name], mapping.source, shares(mapping, cluster))
    imports = SystemImports(core, options, numbers, exports)
    for name in [name for name in used if name in numbers]:
        yield
        imports.open(name)
    return numbers, imports


_FIELDS: Final = (
    "accounts",
    "mappings",
    "places",
    "cluster",
    "server_name",
    "system_account",
    "no_system_account",
)


def prepare_accounts(
    core: Core, old: Options, new: Options, server_name: str, used: Collection[str]
) -> Generator[None, None, Tables | None]:
    """Make ready, in small steps, what ``commit_accounts`` will put in force; None: it would be the same as what is.

    MemoryError: no room. Then, and if not all of the steps are taken, nothing is prepared.
    """
    if all(getattr(old, name) == getattr(new, name) for name in _FIELDS):
        return None
    core.accounts.make_room(room_for(account_places(new)))
    core.accounts.begin()
    try:
        steps = _steps(core, new, server_name, old, used)
        tables: Tables | None = None
        while tables is None:
            try:
                next(steps)
            except StopIteration as end:
                tables = end.value
                core.accounts.ready()
            core.accounts.stage(False)
            yield
            core.accounts.stage(True)
        core.accounts.stage(False)
    except BaseException:
        core.accounts.abort()
        raise
    return tables


def _share(
    core: Core, options: Options, numbers: dict[str, int], server: str, old: Options | None
) -> Generator[None, None, dict[int, int]]:
    """Exports and imports, which have been checked; returns the numbers of the exports by their identity.

    Streams that are imported as before need not be looked at again.
    """
    before = {account.name: _streams(account) for account in old.accounts} if old is not None else {}
    known: dict[int, int] = {}
    for account in options.accounts:
        for export in account.exports:
            if export.kind == "service":
                streamed = export.response_type != "single"
                number = core.accounts.service_export(
                    numbers[account.name], streamed, export.response_threshold, export.allow_trace
                )
                known[id(export)] = number
                if export.latency_subject:
                    percent = max(export.latency_sampling, 0)
                    core.accounts.service_latency(
                        numbers[account.name], number, export.latency_subject, percent, server
                    )
    accounts = {account.name: account for account in options.accounts}
    for account in options.accounts:
        yield
        importer = numbers[account.name]
        stay = before.get(account.name) == _streams(account)
        if stay:
            core.accounts.streams_stay(importer)
        for one in account.imports:
            exporter = numbers[one.account]
            if one.kind == "stream":
                if stay:
                    continue
                stream = stream_shape(one)
                core.accounts.stream_import(
                    importer, exporter, stream.local, stream.show, stream.find, one.allow_trace
                )
            elif offer := matching_export(accounts[one.account], one):
                service = service_shape(one)
                core.accounts.service_import(
                    importer, exporter, known[id(offer)], service.local, service.target, one.share
                )
    return known


class SystemImports:
    """What every account may ask the system account. It is set up with an account's first client: many may never have one."""

    __slots__ = ("_accounts", "_core", "_known", "_numbers", "_offering", "_open", "_system")

    def __init__(self, core: Core, options: Options, numbers: dict[str, int], known: dict[int, int]) -> None:
        """``known``: the data plane's numbers of the exports in ``options``, by their identity. Raises MemoryError."""
        self._core = core
        self._numbers = numbers
        self._known = known
        self._system = system_account(options)
        self._accounts = {account.name: account for account in options.accounts}
        self._open: set[str] = set()
        self._offering = AccountOptions(self._system)
        if self._system:
            own = self._accounts.get(self._system, self._offering)
            exports = system_exports(options)
            for export in exports:
                streamed = export.response_type != "single"
                known[id(export)] = core.accounts.service_export(numbers[self._system], streamed, 0.0)
            self._offering = replace(own, exports=[*own.exports, *exports])
        for account in options.accounts:
            if passes_on(account):
                self.open(account.name)

    @property
    def used(self) -> frozenset[str]:
        """The accounts that are used."""
        return frozenset(self._open)

    def open(self, name: str) -> None:
        """An account is used. Raises MemoryError."""
        if name in self._open:
            return
        self._open.add(name)
        for found in automatic_imports(self._accounts.get(name) or AccountOptions(name), self._system):
            offer = matching_export(self._offering, found)
            if offer is not None:
                shape, number = service_shape(found), self._known[id(offer)]
                self._core.accounts.service_import(
                    self._numbers[name],
                    self._numbers[self._system],
                    number,
                    shape.local,
                    shape.target,
                    found.share,
                )


def _streams(account: AccountOptions) -> list[Import]:
    return [one for one in account.imports if one.kind == "stream"]


# The data plane's numbers of the accounts by their names, and what is set up when one is used.
Tables = tuple[dict[str, int], SystemImports]


def shares(mapping: SubjectMapping, cluster: str) -> list[tuple[Transform, int]]:
    """The destinations in our ``cluster``, each with the percentage up to which it and those before it take messages.

    What is left passes unchanged, unless the source itself is named: then the rest is meant to be lost.
    """
    ours = [one for one in mapping.destinations if cluster and one.cluster == cluster]
    chosen = ours or [one for one in mapping.destinations if not one.cluster]
    found: list[tuple[Transform, int]] = []
    upto = 0
    for destination in chosen:
        upto += destination.weight
        subject = destination.subject or mapping.source
        unchanged = subject == mapping.source
        found.append((compile_transform(mapping.source, numbered(subject) if unchanged else subject), upto))
    if upto < 100 and all(one.subject != mapping.source for one in mapping.destinations):
        found.append((compile_transform(mapping.source, numbered(mapping.source)), 100))
    return found
