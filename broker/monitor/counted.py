"""What has been counted of accounts, as one server with one sublist for each account would have counted it.

All of it is in the page that the processes share, but for two numbers that are the same for every worker, and so must not be
counted for each: subscriptions for the service imports of an account, which a worker makes when it needs them, and those of
what this process answers in the system account.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from broker.accounts.automatic import automatic_imports
from broker.accounts.names import account_names, account_places, system_account
from broker.core import Core
from broker.options import Options
from broker.options.sections import AccountOptions


class Counted:
    """The accounts of certain options."""

    __slots__ = ("_core", "_imports", "_names", "_places", "_system", "options")

    def __init__(self, core: Core, options: Options) -> None:
        self.options = options
        self._core = core
        self._system = system_account(options)
        self._names = dict.fromkeys(account_names(options))
        self._places = account_places(options)
        self._imports = _service_imports(options)

    def names(self) -> list[str]:
        """All of them."""
        return list(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def knows(self, name: str) -> bool:
        """Is it one of them, or was it one before a reload? For a while such an account has clients that have to go."""
        return name in self._places

    def of(self, name: str) -> Counter[str]:
        """What has been counted of one that it knows; ``held``: how many subscriptions its sublist holds.

        These are those of clients, those for stream imports of others, and the server's own: for its service imports, for
        answers to others, and for what the server answers.
        """
        sums = Counter(self._core.counters.account_total(self._places[name]))
        sums["held"] = sums["subs"] + sums["shadows"] + self._own(name, sums)
        return sums

    def conns(self, name: str) -> int:
        """How many connections one that it knows has."""
        return self._core.counters.total_conns(self._places[name])

    def conns_elsewhere(self, name: str, worker: int) -> int:
        """How many of them are on other workers. (Of two numbers read one after the other neither says that.)"""
        return self._core.counters.conns_elsewhere(self._places[name], worker)

    def active(self) -> int:
        """How many of them have connections."""
        return sum(1 for place in self._places.values() if self._core.counters.total_conns(place))

    def add_sublist(self, name: str, sums: Counter[str]) -> None:
        """To what the workers have counted of an account's sublist, what they have not."""
        sums["inserts"] += self._own(name, sums)
        if name == self._system and (here := self._here()) is not None:
            add_sublists(sums, here)

    def _own(self, name: str, sums: Counter[str]) -> int:
        here = self._here() if name == self._system else None
        return self._imports.get(name, 0) + bool(sums["asked"]) + (here["own"] if here is not None else 0)

    def _here(self) -> dict[str, int] | None:
        """What this process has counted of the system account's sublist."""
        number = self._core.counters.account_id(self._system)
        return None if number is None else self._core.counters.sublist_counts(number)


def add_sublists(sums: Counter[str], counted: Mapping[str, int]) -> None:
    """The numbers of some sublists to those of others."""
    most = max(sums["max_fanout"], counted.get("max_fanout", 0))
    sums.update(counted)
    sums["max_fanout"] = most


def _service_imports(options: Options) -> dict[str, int]:
    """How many each account has."""
    system = system_account(options)
    configured = {account.name: account for account in options.accounts}
    known = [configured.get(name) or AccountOptions(name) for name in account_names(options)]
    return {
        account.name: sum(one.kind == "service" for one in account.imports)
        + len(automatic_imports(account, system))
        for account in known
    }
