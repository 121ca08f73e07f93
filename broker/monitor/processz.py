"""/processz, an addition of ours: every process of the server, the last minutes' rates, and the accounts with the most traffic.

The live page is made of it.
"""

from __future__ import annotations

from typing import Any

from broker.monitor.asked import ProcesszOptions
from broker.monitor.busiest import RATES, BusyAccount
from broker.monitor.encode import time_text
from broker.monitor.state import Process, Sample, Server


async def processz(server: Server, options: ProcesszOptions) -> dict[str, Any]:
    """The answer."""
    sums = server.sums()
    fields = {
        **server.envelope(),
        "worker_restarts": server.restarts,
        "accepting": server.accepting,
        "interest_drift": sums["interest_drift"],
        "stalls": sums["stalls"],
        "slow_consumers": sums["slow_consumers"],
        "processes": [_process(process) for process in server.processes()],
    }
    if server.history:
        fields["sample"] = _sample(server.history[-1])
    if options.history:
        fields["history"] = [_sample(sample) for sample in server.history]
    if options.accounts > 0:
        look = await server.busiest.of(server.accounts)
        fields["accounts"] = {
            "total": look.total,
            "active": look.active,
            "busiest": [_account(account) for account in look.busiest[: options.accounts]],
        }
    return fields


def _account(account: BusyAccount) -> dict[str, Any]:
    sums = account.sums
    fields = {
        "acc": account.name,
        "conns": sums["conns"],
        "num_subscriptions": sums["held"],
        "sent": {"msgs": sums["out_msgs"], "bytes": sums["out_bytes"]},
        "received": {"msgs": sums["in_msgs"], "bytes": sums["in_bytes"]},
        "slow_consumers": sums["slow_consumers"],
    }
    return {**fields, "rates": _rates(account.rates)} if account.rates else fields


def _process(process: Process) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": process.role}
    if process.role == "worker":
        fields["index"] = process.index
    fields |= {"pid": process.pid, "healthy": process.healthy, "cpu": round(process.cpu, 1)}
    fields["mem"] = process.usage.resident if process.usage is not None else 0
    if process.role == "worker":
        fields["silence_ms"] = process.silence_ms
        for name in ("connections", "total_connections", "subscriptions", "slow_consumers", "stalls"):
            fields[name] = process.stats.get(name, 0)
        fields["rates"] = _rates(process.rates)
    return fields


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "time": time_text(sample.time_ns),
        "connections": sample.connections,
        "subscriptions": sample.subscriptions,
        "cpu": round(sample.cpu, 1),
        **_rates(sample.rates),
    }


def _rates(rates: dict[str, float]) -> dict[str, int]:
    return {f"{name}_per_second": round(rates.get(name, 0.0)) for name in RATES}
