"""/metrics: OpenMetrics text, without an exporter beside the server.

Names that prometheus-nats-exporter has are used as it has them (``gnatsd_varz_...``, gauges all), so that existing dashboards
work; what it does not know is ``spline_...``. Labels are bounded: workers, kinds of processes, and the busiest accounts
with the others summed up; never connections, addresses or subjects.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from broker.monitor import asked
from broker.monitor.accounts import accstatz
from broker.monitor.connz import connz
from broker.monitor.healthz import healthz
from broker.monitor.state import Process, Server
from broker.monitor.subsz import subsz
from broker.monitor.varz import varz

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
MAX_ACCOUNTS: Final = 100
OTHERS: Final = "_other"

_NOT_A_NAME: Final = re.compile("[^a-zA-Z0-9_]+")
_TEXTS: Final = ("server_id", "server_name", "version")

# What each worker counts: (name of the counter, its name among the data plane's, help).
_WORKER_COUNTERS: Final = (
    ("connections_accepted", "total_connections", "Clients that this worker has accepted."),
    ("connections_refused", "refused", "Clients refused because the server was full."),
    ("connections_handed_over", "accepted_for_others", "Clients accepted and handed to a worker with fewer."),
    ("in_msgs", "in_msgs", "Messages from clients."),
    ("in_bytes", "in_bytes", "Payload and header bytes from clients."),
    ("out_msgs", "out_msgs", "Messages to clients."),
    ("out_bytes", "out_bytes", "Payload and header bytes to clients."),
    ("slow_consumers", "slow_consumers", "Clients cut off because they did not read."),
    ("stale_connections", "stale_connections", "Clients cut off because they did not answer PING."),
    ("stalls", "stalls", "Times that a publisher was made to wait for a slow subscriber."),
    ("mesh_in_msgs", "mesh_in", "Messages from other workers."),
    ("mesh_out_msgs", "mesh_out", "Messages to other workers."),
    ("mesh_forwarded_msgs", "mesh_forwarded", "Queue messages passed on because the last member had left."),
    ("interest_batches", "interest_batches", "Batches of interest announced to other workers."),
    ("barrier_waits", "barrier_waits", "Times that a client waited until others knew its subscription."),
    ("interest_drift", "interest_drift", "Disagreements about interest between workers; must stay 0."),
)


class _Writer:
    """Collects samples by family: a family's samples stand together, behind its type and help."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str, list[str]]] = {}

    def add(self, name: str, kind: str, text: str, value: float, labels: dict[str, str]) -> None:
        """One sample of a family; a counter's name is given without its suffix."""
        samples = self._families.setdefault(name, (kind, text, []))[2]
        suffix = "_total" if kind == "counter" else ""
        shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        samples.append(f"{name}{suffix}{{{shown}}} {_number(value)}")

    def text(self) -> str:
        """All of it, in the form of OpenMetrics."""
        lines: list[str] = []
        for name, (kind, text, samples) in self._families.items():
            lines += [f"# TYPE {name} {kind}", f"# HELP {name} {_escape(text)}", *samples]
        return "\n".join([*lines, "# EOF\n"])


async def metrics(server: Server) -> str:
    """The text."""
    writer = _Writer()
    _flat(writer, server, "varz", await varz(server, asked.VarzOptions()))
    page = await connz(server, asked.ConnzOptions())
    del page["server_id"]
    _flat(writer, server, "connz", {**page, **_sums(page["connections"])})
    _flat(writer, server, "subsz", await subsz(server, asked.SubszOptions()))
    identity = {"server_id": server.server_id, "server_name": server.name}
    _flat(writer, server, "routez", {**identity, "num_routes": 0})
    _flat(writer, server, "leafz", {"conn_nodes_total": 0})
    status, health = healthz(server, asked.HealthzOptions())
    _flat(writer, server, "healthz", {"status": int(status != 200)})
    said = {"server_id": server.server_id, "value": health["status"]}
    writer.add("gnatsd_healthz_status_value", "gauge", "What /healthz says.", 1, said)
    statz = await accstatz(server, asked.AccountStatzOptions(include_unused=True))
    _accounts(writer, server, statz["account_statz"])
    _processes(writer, server, server.processes())
    return writer.text()


def _flat(writer: _Writer, server: Server, endpoint: str, fields: dict[str, Any]) -> None:
    """The numbers of an answer as the exporter shows them; of other things only who it is."""
    labels = {"server_id": server.server_id}
    for name, value in fields.items():
        full = f"gnatsd_{endpoint}_{_NOT_A_NAME.sub('_', name).strip('_')}"
        if isinstance(value, dict):
            for inner, number in value.items():
                if isinstance(number, (int, float)):
                    key = f"{full}_{_NOT_A_NAME.sub('_', inner).strip('_')}".rstrip("_")
                    writer.add(key, "gauge", f"{name}: {inner}", number, labels)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            writer.add(full, "gauge", name, value, labels)
        elif name in _TEXTS:
            writer.add(full, "gauge", name, 1, {**labels, "value": str(value)})
    if endpoint == "varz":
        for name, ns in (("start", server.started_ns), ("config_load_time", server.loaded_ns)):
            text = f"{name}, milliseconds since 1970"
            writer.add(f"gnatsd_varz_{name}", "gauge", text, ns // 1_000_000, labels)


def _sums(connections: Iterable[dict[str, Any]]) -> Counter[str]:
    names = ("pending_bytes", "subscriptions", "in_bytes", "out_bytes", "in_msgs", "out_msgs")
    sums = Counter(dict.fromkeys(names, 0))
    for connection in connections:
        for name in names:
            sums[name] += connection[name]
    return sums


def _accounts(writer: _Writer, server: Server, entries: list[dict[str, Any]]) -> None:
    """The accounts with the most messages each, the others together."""

    def busy(entry: dict[str, Any]) -> int:
        return int(entry["sent"]["msgs"] + entry["received"]["msgs"] + entry["conns"])

    if len(entries) > MAX_ACCOUNTS:
        entries = sorted(entries, key=busy, reverse=True)
        others = [_account(entry) for entry in entries[MAX_ACCOUNTS:]]
        rest = {name: sum(values[name] for values in others) for name in others[0]}
        known = [(entry["acc"], _account(entry)) for entry in entries[:MAX_ACCOUNTS]] + [(OTHERS, rest)]
    else:
        known = [(entry["acc"], _account(entry)) for entry in entries]
    for name, values in known:
        labels = {"server_id": server.server_id, "account": name, "account_id": name, "account_name": name}
        for metric, value in values.items():
            text = f"{metric.replace('_', ' ')} of the account"
            writer.add(f"gnatsd_accstatz_{metric}", "gauge", text, value, labels)


def _account(entry: dict[str, Any]) -> dict[str, int]:
    return {
        "current_connections": entry["conns"],
        "total_connections": entry["total_conns"],
        "subscriptions": entry["num_subscriptions"],
        "leaf_nodes": entry["leafnodes"],
        "sent_messages": entry["sent"]["msgs"],
        "sent_bytes": entry["sent"]["bytes"],
        "received_messages": entry["received"]["msgs"],
        "received_bytes": entry["received"]["bytes"],
        "slow_consumers": entry["slow_consumers"],
    }


def _processes(writer: _Writer, server: Server, processes: list[Process]) -> None:
    labels = {"server_id": server.server_id}
    for process in processes:
        who = {**labels, "role": process.role, "index": str(max(process.index, 0))}
        writer.add("spline_process_up", "gauge", "Is the process there and well?", int(process.healthy), who)
        if process.usage is not None:
            resident, seconds = process.usage.resident, process.usage.cpu_seconds
            writer.add("spline_process_resident_memory_bytes", "gauge", "Resident memory.", resident, who)
            writer.add("spline_process_cpu_seconds", "counter", "Processor time.", seconds, who)
    for process in processes:
        if process.role != "worker" or not process.stats:
            continue
        worker = {**labels, "worker": str(process.index)}
        for name, kept in (("connections", "Clients now."), ("subscriptions", "Subscriptions now.")):
            writer.add(f"spline_worker_{name}", "gauge", kept, process.stats[name], worker)
        for name, ours, text in _WORKER_COUNTERS:
            writer.add(f"spline_worker_{name}", "counter", text, process.stats[ours], worker)
        silence = process.silence_ms / 1000
        writer.add(
            "spline_worker_silence_seconds", "gauge", "Time since its last heartbeat.", silence, worker
        )
    writer.add(
        "spline_worker_restarts",
        "counter",
        "Workers started anew since the gateway began.",
        server.restarts,
        labels,
    )


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
