"""What the data plane has counted, and what it tells of connections and subscriptions (csrc/monitor.c, the shared page)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from broker.core.binding import ffi, lib, to_bytes

RECORD_BYTES = 1 << 16  # how much one call tells of connections or subscriptions

_STATS = [name for name, _ in ffi.typeof("struct spl_stats").fields]
# Of an account: what is counted in the shared page, and what each worker counts of its own sublist.
_SHARED_COUNTERS = (
    "conns",
    "subs",
    "in_msgs",
    "in_bytes",
    "out_msgs",
    "out_bytes",
    "slow_consumers",
    "shadows",
    "asked",
)
_SUBLIST_COUNTERS = (
    "inserts",
    "removes",
    "matches",
    "cache_hits",
    "cache_entries",
    "max_fanout",
    "sum_fanout",
    "own",
)


class Counters:
    """Looks at one core, and at what all processes have counted."""

    __slots__ = ("_account", "_conns", "_handle", "_record")

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._account = ffi.new("struct spl_account_info *")
        self._conns = ffi.new("uint32_t *")
        self._record = ffi.new("char[]", 1024)

    def stats(self, worker: int) -> dict[str, int]:
        """The counters of a worker, by name; those of its predecessors are part of them."""
        s = ffi.new("struct spl_stats *")
        lib.spl_get_stats(self._handle, worker, s)
        return {name: int(getattr(s, name)) for name in _STATS}

    def worker_pid(self, worker: int) -> int:
        """The process that is or was this worker; 0: there was none yet."""
        return int(lib.spl_worker_pid(self._handle, worker))

    def account_total(self, place: int) -> dict[str, int]:
        """What all workers have counted of the account at a place of the shared page."""
        a = self._account
        lib.spl_account_total(self._handle, place, a)
        return {name: int(getattr(a, name)) for name in _SHARED_COUNTERS}

    def total_conns(self, place: int) -> int:
        """How many connections that account has."""
        lib.spl_account_total(self._handle, place, self._account)
        return int(self._account.conns)

    def conns_elsewhere(self, place: int, but: int) -> int:
        """How many connections that account has on other workers than this one."""
        found = worker = 0
        while lib.spl_account_part(self._handle, worker, place, self._account) == 0:
            found += int(self._account.conns) if worker != but else 0
            worker += 1
        return found

    def account_id(self, name: str) -> int | None:
        """The id of an account that exists."""
        raw = to_bytes(name)
        number = int(lib.spl_account_find(self._handle, raw, len(raw)))
        return None if number < 0 else number

    def sublist_counts(self, account: int) -> dict[str, int] | None:
        """What this worker has counted of the sublist of the account with this id; None: there are no more."""
        a = self._account
        if lib.spl_account_get(self._handle, account, a) != 0:
            return None
        return {name: int(getattr(a, name)) for name in _SUBLIST_COUNTERS}

    def answers(self, account: int) -> Iterator[bytes]:
        """Answers that others wait for from this account, as `read_answers` takes them, step by step."""
        query = ffi.new("struct spl_answers *", {"account": account})
        room = RECORD_BYTES
        buffer = ffi.new("char[]", room)
        while not query.done:
            before = query.bucket
            size = lib.spl_answers(self._handle, query, buffer, room)
            if not (size or query.done) and query.bucket == before:  # some that are larger than usual
                room *= 2
                buffer = ffi.new("char[]", room)
                continue
            yield bytes(ffi.buffer(buffer, size))

    def record(self, conn: int) -> tuple[int, bytes]:
        """A connection, also while CLOSED is being handled, as ``read_records`` takes it (empty: it is gone), and how many its
        account had here when it had come or gone."""
        while True:
            size = lib.spl_conn_record(self._handle, conn, self._conns, self._record, len(self._record))
            if size <= len(self._record):
                return self._conns[0], bytes(ffi.buffer(self._record, size))
            self._record = ffi.new("char[]", 2 * size)

    def select(
        self, *, states: int, sort: int, account: int, cid: int, user: bytes, want: int, now_ns: int
    ) -> Iterator[tuple[bytes, int]]:
        """Keys of connections, step by step: (some keys as `read_keys` takes them, total so far). See spl_select."""
        name = ffi.new("char[]", user)
        query = ffi.new(
            "struct spl_select *",
            {
                "states": states,
                "sort": sort,
                "account": account,
                "cid": cid,
                "user": name,
                "user_len": len(user),
                "want": min(want, lib.SPL_SELECT_MOST),
                "now_ns": now_ns,
            },
        )
        keys = ffi.new("struct spl_key[]", lib.SPL_SELECT_MOST)
        while not query.done:
            count = lib.spl_select(self._handle, query, keys)
            yield bytes(ffi.buffer(keys, count * ffi.sizeof("struct spl_key"))), int(query.total)

    def records(self, handles: Sequence[int], subs: bool) -> Iterator[bytes]:
        """Records, as `read_records` takes them, of these connections as far as they are known, step by step."""
        wanted = ffi.new("uint64_t[]", list(handles))
        at = ffi.new("struct spl_place *")
        room = RECORD_BYTES
        buffer = ffi.new("char[]", room)
        while at.index < len(handles):
            before = (at.index, at.sub)
            size = lib.spl_records(self._handle, wanted, len(handles), subs, at, buffer, room)
            if not size and (at.index, at.sub) == before:  # a single one that is larger than usual
                room *= 2
                buffer = ffi.new("char[]", room)
                continue
            yield bytes(ffi.buffer(buffer, size))

    def subscriptions(
        self,
        *,
        account: int,
        test: bytes,
        offset: int = 0,
        limit: int = 0,
        queue: bytes = b"",
        within: bool = False,
    ) -> Iterator[tuple[bytes, int]]:
        """Subscriptions, step by step: (records from `offset` on, at most `limit` in all; total so far). See spl_subs."""
        subject, group = ffi.new("char[]", test), ffi.new("char[]", queue)
        query = ffi.new(
            "struct spl_subs *",
            {
                "account": account,
                "test": subject,
                "test_len": len(test),
                "queue": group,
                "queue_len": len(queue),
                "within": within,
                "offset": offset,
                "limit": limit,
            },
        )
        buffer = ffi.new("char[]", 4 * RECORD_BYTES)  # one has at most three names of 64 KiB
        while not query.done:
            size = lib.spl_subs(self._handle, query, buffer, 4 * RECORD_BYTES)
            yield bytes(ffi.buffer(buffer, size)), int(query.total)
