"""Reload: another configuration for a running server, in all of its processes or in none.

    SIGHUP -> parse, check, compare        refused: one line, nothing has happened
           -> "prepare" to every child     each builds all that can fail, and answers
           -> "commit" to every child      nothing can fail any more
           -> the lines that say what has changed

A child that dies meanwhile is waited for no longer; its successor is started when all is over, with whatever is in force
then.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from broker.accounts.names import room_for
from broker.launch import write_options
from broker.log import Log
from broker.options import Loaded, Options, validate_start
from broker.options.reload import Change, plan, refusal
from supervisor.children import Child, Children
from supervisor.errors import system_text
from supervisor.heartbeat import SharedPage
from supervisor.logs import LogWriter, SinkError
from supervisor.policy import Policy
from supervisor.shares import even_shares, newest_shares
from supervisor.sinks import Sink

_LOG_FIELDS: Final = frozenset(("log_file", "log_size_limit", "log_max_num", "syslog", "remote_syslog"))

Load = Callable[[], Loaded]
Tell = Callable[[str], None]


@dataclass(slots=True)
class _Attempt:
    """One reload that is under way."""

    number: int
    options: Options
    changes: list[Change]
    sink: Sink | None  # the new log, if it is another one
    waiting: set[int]  # serials of the children that have not answered
    until: float
    committing: bool = False
    error: str = ""
    # Of accounts that may have too many clients now, by the serial of a worker: see newest_shares.
    crowds: dict[str, dict[int, list[int]]] = field(default_factory=dict)


class Reloads:
    """The configuration that is in force, and how it is replaced by another one.

    ``options`` are those of the file and the command line; the children's differ in what the supervisor has decided (the
    port, the number of workers).
    """

    def __init__(
        self,
        options: Options,
        load: Load | None,
        children: Children,
        page: SharedPage,
        writer: LogWriter,
        policy: Policy,
        applied: Callable[[Options, Options], None],
        settle: Callable[[Options], Options],
    ) -> None:
        """``applied`` (old, new) does the supervisor's own part of a change; ``settle`` completes options for children."""
        self.options = options
        self.on_end: Callable[[], None] | None = None
        self._load = load
        self._children = children
        self._page = page
        self._writer = writer
        self._patience = policy.reload_patience
        self._applied = applied
        self._settle = settle
        self._attempt: _Attempt | None = None
        self._again = False
        self._number = 0
        self._askers: list[Tell] = []  # who waits for the end of the attempt
        self._later: list[Tell] = []  # and of the next one

    @property
    def _log(self) -> Log:
        return self._writer.log

    @property
    def busy(self) -> bool:
        """Is one under way?"""
        return self._attempt is not None

    def begin(self, tell: Tell | None = None) -> None:
        """The operator wants the file to be read again. ``tell`` is told why it could not be done, or nothing."""
        askers = self._askers if self._attempt is None else self._later
        if tell is not None:
            askers.append(tell)
        if self._attempt is not None:
            self._again = True
            return
        reason = self._try()
        if reason:
            self._log.error(f"Failed to reload server configuration: {reason}")
            self._ended(reason)

    def heard(self, child: Child, message: Mapping[str, object]) -> None:
        """A child has answered."""
        attempt = self._attempt
        if attempt is None or message.get("id") != attempt.number:
            return
        error = str(message.get("error") or "")
        if error and not attempt.error:
            attempt.error = f"{child.name}: {error}"
        if message.get("op") == ("committed" if attempt.committing else "prepared"):
            attempt.waiting.discard(child.serial)
            crowds = message.get("crowds")
            for account, counted in crowds.items() if isinstance(crowds, dict) else ():
                attempt.crowds.setdefault(account, {})[child.serial] = counted
        self._go_on()

    def died(self, child: Child) -> None:
        """A child has died, and so will not answer."""
        if self._attempt is not None:
            self._attempt.waiting.discard(child.serial)
            self._go_on()

    def tick(self) -> float:
        """See whether one has waited too long; returns in how many seconds to look again."""
        attempt = self._attempt
        if attempt is None:
            return self._patience
        left = attempt.until - time.monotonic()
        if left > 0:
            return left
        silent = [child.name for child in self._children.all() if child.serial in attempt.waiting]
        attempt.waiting.clear()
        if attempt.committing:
            self._log.error(f"{', '.join(silent)} did not say that the new configuration is in force")
        else:
            attempt.error = attempt.error or f"{', '.join(silent)} did not answer"
        self._go_on()
        return self._patience

    def _try(self) -> str:
        """Begin; returns why it cannot be done."""
        if self._load is None or not self.options.config_file:
            return "can only reload config when a file is provided using -c or --config"
        loaded = self._load()
        if loaded.errors:
            return "; ".join(loaded.errors)
        for warning in loaded.warnings:
            self._log.warn(warning)
        new = loaded.options
        problems = validate_start(new)
        if problems:
            return problems[0]
        running = replace(self.options, port=self._settle(self.options).port)
        changes = plan(running, new)
        reason = refusal(changes)
        if reason:
            return reason
        return self._prepare(new, changes)

    def _prepare(self, new: Options, changes: list[Change]) -> str:
        sink: Sink | None = None
        try:
            settled = self._settle(new)
            self._page.make_room(room_for(settled.places))
            if any(change.field in _LOG_FIELDS for change in changes):
                sink = self._writer.open(new)
            memory = write_options(settled)
        except SinkError as error:
            return str(error)
        except OSError as error:
            if sink is not None:
                sink.close()
            return system_text(error)
        self._number += 1
        children = self._children.all()
        waiting = {child.serial for child in children}
        until = time.monotonic() + self._patience
        self._attempt = _Attempt(self._number, new, changes, sink, waiting, until)
        self._children.hold = True
        try:
            for child in children:
                self._children.send(child, {"op": "prepare", "id": self._number}, memory)
        except OSError as error:
            self._attempt.error = system_text(error)
            self._attempt.waiting.clear()
        finally:
            os.close(memory)
        self._go_on()
        return ""

    def _go_on(self) -> None:
        """Take the next step, if all have taken the last one."""
        attempt = self._attempt
        if attempt is None or (attempt.waiting and not attempt.error):
            return
        if attempt.committing:
            self._finish(attempt)
        elif attempt.error:
            self._tell_all({"op": "abort", "id": attempt.number})
            if attempt.sink is not None:
                attempt.sink.close()
            self._attempt = None
            self._log.error(f"Failed to reload server configuration: {attempt.error}")
            self._ended(attempt.error)
        else:
            self._commit(attempt)

    def _commit(self, attempt: _Attempt) -> None:
        attempt.committing = True
        attempt.error = ""
        attempt.until = time.monotonic() + self._patience
        attempt.waiting = {child.serial for child in self._children.all()}
        if attempt.sink is not None:
            self._writer.switch(attempt.sink)
        self._log.configure(attempt.options)
        self._children.relaunch_with(options=self._settle(attempt.options))
        self._tell_all({"op": "commit", "id": attempt.number})
        self._go_on()

    def _finish(self, attempt: _Attempt) -> None:
        self._attempt = None
        old, self.options = self.options, attempt.options
        live = {child.serial: self._page.live(child.index) for child in self._children.all()}
        self._shed(even_shares(live, attempt.options.max_connections), {"op": "shed"})
        limits = {account.name: account.limits.max_connections for account in attempt.options.accounts}
        for account, crowd in attempt.crowds.items():
            self._shed(newest_shares(crowd, limits[account]), {"op": "shed_account", "account": account})
        for change in attempt.changes:
            self._log.info(change.text)
        self._applied(old, attempt.options)
        digest = f" ({attempt.options.config_digest})" if attempt.options.config_digest else ""
        self._log.info(f"Reloaded server configuration{digest}")
        self._ended("")

    def _shed(self, shares: dict[int, int], order: dict[str, object]) -> None:
        """There are too many clients: of each worker (by serial) so many have to go."""
        for child in self._children.all():
            if share := shares.get(child.serial):
                self._children.send(child, {**order, "count": share})

    def _tell_all(self, message: dict[str, object]) -> None:
        for child in self._children.all():
            with contextlib.suppress(OSError):
                self._children.send(child, message)

    def _ended(self, error: str) -> None:
        self._children.hold = False
        askers, self._askers, self._later = self._askers, self._later, []
        for tell in askers:
            tell(error)
        if self.on_end is not None:
            self.on_end()
        if self._again:
            self._again = False
            self.begin()
