"""Accounts in the data plane: made, limited, and told what they share (csrc/account.c, import.c, service.c, mapping.c)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from broker.core.binding import ffi, lib, to_bytes
from broker.options.transforms import Transform


class AccountSetup:
    """Sets up the accounts of one core."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def account(self, name: str) -> int:
        """The id of an account, made on first use. Raises MemoryError."""
        raw = name.encode()
        number = int(lib.spl_account(self._handle, raw, len(raw)))
        if number < 0:
            raise MemoryError
        return number

    def set_system_account(self, account: int) -> None:
        """Which account is the system account. Only before there are subscriptions."""
        lib.spl_system_account(self._handle, account)

    def make_room(self, places: int) -> None:
        """The shared page has grown: there are so many places for counters. Raises MemoryError."""
        if lib.spl_accounts_room(self._handle, places) < 0:
            raise MemoryError

    def begin(self) -> None:
        """Prepare other tables for all accounts: what is said of them from now on is in force with ``commit``."""
        lib.spl_accounts_begin(self._handle)

    def stage(self, on: bool) -> None:
        """Leave the preparations for a while, or go on with them: what is said meanwhile is in force at once."""
        lib.spl_accounts_stage(self._handle, on)

    def ready(self) -> None:
        """All has been said; what is left cannot fail. Raises MemoryError."""
        if lib.spl_accounts_ready(self._handle) < 0:
            raise MemoryError

    def abort(self) -> None:
        """Forget what was prepared, if anything was."""
        lib.spl_accounts_abort(self._handle)

    def commit(self) -> None:
        """What was prepared replaces what was in force."""
        lib.spl_accounts_commit(self._handle)

    def streams_stay(self, account: int) -> None:
        """In what is being prepared, this account's stream imports are what they are now. Raises MemoryError."""
        if lib.spl_streams_stay(self._handle, account) < 0:
            raise MemoryError

    def account_limits(
        self,
        account: int,
        place: int,
        max_connections: int = -1,
        max_subscriptions: int = -1,
        max_payload: int = -1,
    ) -> None:
        """The place of an account's counters in the shared page, and its limits (negative: none). Raises MemoryError."""
        limits = (max_connections, max_subscriptions, max_payload)
        if lib.spl_account_limits(self._handle, account, place, *limits) < 0:
            raise MemoryError

    def map_subject(self, account: int, source: str, destinations: Sequence[tuple[Transform, int]]) -> None:
        """Map what clients of an account publish on ``source``: to each destination up to so many percent of it.

        Raises MemoryError.
        """
        raw = to_bytes(source)
        if lib.spl_mapping(self._handle, account, raw, len(raw)) < 0:
            raise MemoryError
        for transform, upto in destinations:
            if lib.spl_mapping_to(self._handle, account, _transform(transform), upto) < 0:
                raise MemoryError

    def account_trace(self, account: int, dest: str, percent: int) -> None:
        """Trace so many percent of an account's messages with a sampled ``traceparent`` to ``dest``. Raises MemoryError."""
        raw = to_bytes(dest)
        if lib.spl_account_trace(self._handle, account, raw, len(raw), percent) < 0:
            raise MemoryError

    def stream_import(
        self,
        importer: int,
        exporter: int,
        to: str,
        show: Transform | None,
        find: Transform | None,
        traced: bool = False,
    ) -> None:
        """Show what the exporter publishes to the importer's clients as ``to``.

        ``show`` makes their subject of his, ``find`` his of theirs; None: they are the same. ``traced``: messages may be
        traced beyond it. Raises MemoryError.
        """
        raw = to_bytes(to)
        handles = [ffi.NULL if one is None else _transform(one) for one in (show, find)]
        if lib.spl_stream_import(self._handle, importer, exporter, raw, len(raw), *handles, traced) < 0:
            raise MemoryError

    def service_export(self, account: int, streamed: bool, threshold: float, traced: bool = False) -> int:
        """The number of a new export; threshold 0: the default, else seconds; ``traced``: requests may be traced beyond it.

        Raises MemoryError.
        """
        number = int(lib.spl_service_export(self._handle, account, streamed, int(threshold * 1000), traced))
        if number < 0:
            raise MemoryError
        return number

    def service_latency(self, account: int, export: int, results: str, percent: int, server: str) -> None:
        """Measure so many percent of the requests to an export, and those with a header that asks for it.

        ``results`` is where the LATENCY events are to be published, ``server`` what ``server_hash`` says of our name.
        Raises MemoryError.
        """
        raw = to_bytes(results)
        tail = server.encode()
        if lib.spl_service_latency(self._handle, account, export, raw, len(raw), percent, tail) < 0:
            raise MemoryError

    def service_import(
        self, importer: int, exporter: int, export: int, local: str, target: Transform | None, share: bool
    ) -> None:
        """Requests of the importer's clients to ``local`` go to the exporter. Raises MemoryError."""
        raw = to_bytes(local)
        handle = ffi.NULL if target is None else _transform(target)
        if lib.spl_service_import(self._handle, importer, exporter, export, raw, len(raw), handle, share) < 0:
            raise MemoryError

    def labels(self, accounts: Mapping[int, str], where: str) -> None:
        """What services are told: the accounts' names, and the server, as JSON. Raises MemoryError."""
        for account, label in accounts.items():
            raw = to_bytes(label)
            if lib.spl_account_label(self._handle, account, raw, len(raw)) < 0:
                raise MemoryError
        raw = to_bytes(where)
        if lib.spl_where(self._handle, raw, len(raw)) < 0:
            raise MemoryError


def _transform(transform: Transform) -> Any:
    handle = lib.spl_transform_new(transform.rest)
    if handle == ffi.NULL:
        raise MemoryError
    for step in transform.steps:
        text = to_bytes(step.text)
        tokens = ffi.new("uint32_t[]", list(step.tokens))
        if (
            lib.spl_transform_step(handle, step.kind, text, len(text), tokens, len(step.tokens), step.number)
            < 0
        ):
            lib.spl_transform_free(handle)
            raise MemoryError
    return handle
