"""`python -m tests.bench`: the whole comparison, or a part of it."""

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import accounts, measures, report, rows, servers
from tests.bench import generator as load
from tests.bench.accounts import Family
from tests.bench.report import Numbers, Result
from tests.bench.servers import BenchError, Server, Spec
from tests.certificates import Authority

SECTIONS = ("main", "other", "tls", "crossing", "accounts", "latency", "connections", "lifecycle")


@dataclass(slots=True)
class Bench:
    """What all measurements of one invocation share, and what they have found."""

    ours: Spec
    peer: Spec
    generator: load.Generator
    cpu: int
    size: measures.Size
    results: list[Result] = field(default_factory=list)

    def alternate(
        self,
        result: Result,
        measure: Callable[[Server], Numbers],
        flags: tuple[str, ...] = (),
        repeats: int | None = None,
    ) -> Result:
        """Both servers fresh, both up, one measured after the other, again and again: whatever drifts on the
        machine meets both. A measurement that fails is written down, and the row goes without it."""
        self.results.append(result)
        try:
            with (
                servers.running(self.ours, self.cpu, flags=flags) as ours,
                servers.running(self.peer, self.cpu, flags=flags) as peer,
            ):
                for _ in range(repeats or self.size.repeats):
                    result.runs.setdefault("ours", []).append(measure(ours))
                    result.runs.setdefault("peer", []).append(measure(peer))
        except BenchError as error:
            result.failures.append(str(error))
        return result

    # ---- the sections ----

    def workloads(self, section: str, title: str, table: tuple[rows.Row, ...]) -> None:
        """A table of workload rows."""
        say(report.workload_heading(title, self.ours.name, self.peer.name))
        for row in table:

            def measure(server: Server, row: rows.Row = row) -> Numbers:
                return measures.workload(self.generator, server, row, self.size)

            say(report.workload_line(self.alternate(Result(section, row.name, aim=row.aim), measure)))

    def tls(self) -> None:
        """The workloads over TLS, both servers with the same certificate."""
        say(report.workload_heading("Over TLS", self.ours.name, self.peer.name))
        with tempfile.TemporaryDirectory(prefix="spline-bench-") as folder:
            authority = Authority(Path(folder))
            pair = authority.issue("server", hosts=["127.0.0.1"])
            flags = ("--tls", "--tlscert", str(pair.cert), "--tlskey", str(pair.key))
            for row in rows.TLS:

                def measure(server: Server, row: rows.Row = row) -> Numbers:
                    return measures.tls_workload(server, row, self.size, authority.file, self.generator.cpu)

                result = self.alternate(Result("tls", row.name, aim=row.aim), measure, flags)
                say(report.workload_line(result))

    def crossing(self) -> None:
        """The table about two workers on one core: pairs within one worker, pairs across, and the peer."""
        say(report.crossing_heading(self.peer.name))
        for row, pairs in rows.CROSSING:
            result = Result("crossing", row.name)
            self.results.append(result)
            try:
                with (
                    servers.running(self.ours, self.cpu, workers=2) as ours,
                    servers.running(self.peer, self.cpu) as peer,
                ):
                    for _ in range(self.size.repeats):
                        for side, server in (("same", ours), ("ours", ours), ("peer", peer)):
                            numbers = measures.crossing(
                                self.generator, server, row, pairs, self.size, across=side == "ours"
                            )
                            result.runs.setdefault(side, []).append(numbers)
            except BenchError as error:
                result.failures.append(str(error))
            say(report.crossing_line(result))

    def families(
        self,
        families: tuple[Family, ...],
        measure: Callable[[Server, rows.Row, Family], Numbers],
        repeats: int,
        workers: int = 1,
        config: str = "",
    ) -> None:
        """Families of workloads on one pair of servers: all rows of a family in turn, again and again."""
        with (
            servers.running(self.ours, self.cpu, workers, config=config) as ours,
            servers.running(self.peer, self.cpu, config=config) as peer,
        ):
            for family in families:
                within = Result("accounts", family.within.name)
                through = [Result("accounts", row.name, aim=row.aim) for row in family.through]
                of_all = list(zip((family.within, *family.through), (within, *through), strict=True))
                for _ in range(repeats):
                    for row, result in of_all:
                        for side, server in (("ours", ours), ("peer", peer)):
                            try:
                                result.runs.setdefault(side, []).append(measure(server, row, family))
                            except BenchError as error:
                                result.failures.append(str(error))
                for result in through:
                    result.runs["same"] = within.runs.get("ours", [])
                for _, result in of_all:
                    say(report.sharing_line(result))
                    self.results.append(result)

    def accounts(self) -> None:
        """What it costs to cross from account to account, and to have many of them."""

        def plain(server: Server, row: rows.Row, family: Family) -> Numbers:
            return measures.workload(self.generator, server, row, self.size)

        def across(server: Server, row: rows.Row, family: Family) -> Numbers:
            return measures.crossing(self.generator, server, row, family.pairs, self.size, across=True)

        config, repeats = accounts.config(), self.size.repeats
        say(report.sharing_heading("Accounts", self.ours.name, self.peer.name))
        self.families(accounts.FAMILIES, plain, repeats, config=config)
        self.families(accounts.ACROSS, across, repeats, workers=2, config=config)
        few = max(1, repeats // 2)
        self.families((accounts.MANY_ACCOUNTS,), plain, few, config=accounts.config(accounts.MANY))
        say(report.measure_heading(f"{accounts.MANY:,} accounts", self.ours.name, self.peer.name))
        result = Result("accounts", "")
        self.results.append(result)
        try:
            for _ in range(few):
                for side, spec in (("ours", self.ours), ("peer", self.peer)):
                    numbers = measures.many_accounts(self.generator, spec, self.cpu, self.size)
                    result.runs.setdefault(side, []).append(numbers)
        except BenchError as error:
            result.failures.append(str(error))
        say(report.measure_lines(result))

    def latency(self) -> None:
        """Request-reply beside a saturating stream."""
        say(
            report.measure_heading(
                "Request-reply of 1 pair beside a saturating stream", self.ours.name, self.peer.name
            )
        )
        result = Result("latency", "beside a stream")
        say(
            report.measure_lines(
                self.alternate(
                    result, lambda server: measures.latency_beside_stream(self.generator, server, self.size)
                )
            )
        )

    def connections(self) -> None:
        """What connections cost: to open, and to have."""
        say(report.measure_heading("Connections", self.ours.name, self.peer.name))
        opened = self.alternate(
            Result("connections", "with password"),
            lambda server: measures.connects(self.generator, server, self.size),
            flags=measures.CREDENTIALS,
        )
        say(report.measure_lines(opened))
        for measure in (
            lambda server: measures.idle_memory(self.generator, server, self.size),
            lambda server: measures.idle_cpu(server, self.size),
        ):
            say(report.measure_lines(self.alternate(Result("connections", ""), measure, repeats=1)))

    def lifecycle(self) -> None:
        """Start, stop, and memory of each process."""
        say(report.measure_heading("Start and stop, 1 worker", self.ours.name, self.peer.name))
        result = Result("lifecycle", "")
        self.results.append(result)
        try:
            for _ in range(self.size.repeats):
                for side, spec in (("ours", self.ours), ("peer", self.peer)):
                    result.runs.setdefault(side, []).append(measures.lifecycle(spec, self.cpu))
        except BenchError as error:
            result.failures.append(str(error))
        say(report.measure_lines(result))

    def run(self, section: str) -> None:
        """One of SECTIONS."""
        if section == "main":
            self.workloads("main", "Workloads", rows.MAIN)
        elif section == "other":
            self.workloads("other", "Other workloads", rows.OTHER)
        elif section == "tls":
            self.tls()
        elif section == "crossing":
            self.crossing()
        elif section == "accounts":
            self.accounts()
        elif section == "latency":
            self.latency()
        elif section == "connections":
            self.connections()
        else:
            self.lifecycle()


def say(text: str) -> None:
    """Print at once: a run takes minutes, and its reader wants to see it move."""
    print(text, flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Two servers side by side on one core, medians. Ratios above 1: the first is better.",
    )
    server_help = '"spline", "nats-server", or the path of a program'
    parser.add_argument("--ours", default="spline", metavar="SERVER", help=f"the first server: {server_help}")
    parser.add_argument(
        "--peer", default="nats-server", metavar="SERVER", help=f"the second server: {server_help}"
    )
    parser.add_argument("--quick", action="store_true", help="fewer messages, medians of 3: three minutes")
    parser.add_argument(
        "--only", choices=SECTIONS, action="append", help="only this section (may be repeated)"
    )
    parser.add_argument("--server-cpu", type=int, default=0, metavar="N", help="core of the servers (0)")
    parser.add_argument("--load-cpu", type=int, default=1, metavar="N", help="core of the load generator (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file as well")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison; 0 if every measurement could be made, 1 if one failed, 2 if none could be."""
    options = parse(arguments)
    if {options.server_cpu, options.load_cpu} - os.sched_getaffinity(
        0
    ) or options.server_cpu == options.load_cpu:
        say("the servers and the load generator need a core each (--server-cpu, --load-cpu)")
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    began = time.monotonic()
    size = measures.QUICK if options.quick else measures.FULL
    try:
        ours, peer = servers.spec_of(options.ours), servers.spec_of(options.peer)
        versions = {"ours": servers.version_of(ours), "peer": servers.version_of(peer)}
        say(
            f"{versions['ours']} beside {versions['peer']}, on core {options.server_cpu}, {size.repeats} runs"
        )
        with load.built(options.load_cpu) as generator:
            bench = Bench(ours, peer, generator, options.server_cpu, size)
            for section in options.only or SECTIONS:
                bench.run(section)
    except BenchError as error:
        say(f"benchmark: {error}")
        return 2
    failed = sum(bool(result.failures) for result in bench.results)
    say(f"\n{len(bench.results)} rows, {failed} failed, {time.monotonic() - began:.0f} s")
    if options.json is not None:
        document = {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {
                "kernel": platform.release(),
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
            },
            "versions": versions,
            "quick": options.quick,
            "repeats": size.repeats,
            "rows": [result.as_json() for result in bench.results],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
