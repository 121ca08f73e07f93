"""What accounts cost: the workloads of the section "accounts", as data, and the configurations that they need.

A family is one workload in several ways: first within an account, then through what accounts share. All ways
of a family are measured in turn on the same two servers, so that their ratio is one of like with like.
"""

from dataclasses import dataclass

from tests.bench.rows import Rate, Row

PASSWORD = "bench-password"
MANY = 1_000  # accounts
CLIENTS = 10  # of each of them
AIM = 0.8  # of what the same workload does within one account

# Users: "plain" is alone; "source" exports, "sink" imports; "mapped" has subject mappings.
SHARING = """
  PLAIN { users: [{user: plain, password: bench-password}] }
  SOURCE {
    users: [{user: source, password: bench-password}]
    exports: [{stream: "events.>"}, {stream: "raw.>"}, {service: "service.>"}, {service: "inner.>"}]
  }
  SINK {
    users: [{user: sink, password: bench-password}]
    imports: [
      {stream: {account: SOURCE, subject: "events.>"}}
      {stream: {account: SOURCE, subject: "raw.>"}, to: "shown.>"}
      {service: {account: SOURCE, subject: "service.>"}}
      {service: {account: SOURCE, subject: "inner.>"}, to: "outer.>"}
    ]
  }
  MAPPED {
    users: [{user: mapped, password: bench-password}]
    mappings: {"before.*": "after.$1"}
  }
"""


def config(count: int = 0) -> str:
    """The accounts that share, and so many others with a user each: client0, client1, ..."""
    others = (f"  ACC{i} {{ users: [{{user: client{i}, password: {PASSWORD}}}] }}\n" for i in range(count))
    return f"accounts {{{SHARING}{''.join(others)}}}\n"


@dataclass(slots=True, frozen=True)
class Family:
    """One workload within an account, and through what accounts share."""

    within: Row
    through: tuple[Row, ...]
    pairs: int = 0  # of a workload whose two ends must be on different workers


def _row(
    workload: str, name: str, arguments: str, msgs: int, rate: Rate = "dlv_msgs_s", least: int = 1
) -> Row:
    login = ("--pass", PASSWORD, *arguments.split())
    return Row(name, (*workload.split(), *login), msgs, rate, AIM, least)


def _family(
    title: str, workload: str, msgs: int, ways: dict[str, str], rate: Rate = "dlv_msgs_s", pairs: int = 0
) -> Family:
    within = _row(workload, f"{title}: one account", "--user plain --subject events.a", msgs, rate)
    through = (_row(workload, f"{title}: {name}", way, msgs, rate) for name, way in ways.items())
    return Family(within, tuple(through), pairs)


STREAM = "--user source --sub-user sink --subject events.a"
RENAMED_STREAM = "--user source --sub-user sink --subject raw.a --sub-subject shown.a"
SERVICE = "--user sink --sub-user source --subject service.a"
RENAMED_SERVICE = "--user sink --sub-user source --subject outer.a --sub-subject inner.a"
MAPPING = "--user mapped --subject before --sub-subject after"

FAMILIES = (
    _family(
        "1 to 1, 128 B",
        "--mode pubsub --size 128",
        1_500_000,
        {
            "stream import": STREAM,
            "stream import, renamed": RENAMED_STREAM,
            "subject mapping": MAPPING,
            "service import": SERVICE,
            "service import, renamed": RENAMED_SERVICE,
        },
    ),
    _family(
        "fan-out 1 to 10, 128 B",
        "--mode fanout --size 128 --subs 10",
        300_000,
        {"stream import": STREAM, "stream import, renamed": RENAMED_STREAM},
    ),
    _family(
        "request-reply, 1 pair",
        "--mode reqrep --size 128 --pubs 1",
        7_000,
        {"service import": SERVICE},
        "req_s",
    ),
    _family(
        "request-reply, 1 pair, 100 at once",
        "--mode reqrep --size 128 --pubs 1 --window 100",
        400_000,
        {"service import": SERVICE},
        "req_s",
    ),
    _family(
        "request-reply, 50 pairs",
        "--mode reqrep --size 128 --pubs 50",
        1_000,
        {"service import": SERVICE, "service import, renamed": RENAMED_SERVICE},
        "req_s",
    ),
)

# The same between two workers that share the core; the other server is one process.
ACROSS = (
    _family(
        "request-reply, 1 pair, 2 workers",
        "--mode reqrep --size 128 --pubs 1",
        5_000,
        {"service import": SERVICE},
        "req_s",
        pairs=1,
    ),
    _family(
        "request-reply, 50 pairs, 2 workers",
        "--mode reqrep --size 128 --pubs 50",
        1_000,
        {"service import": SERVICE},
        "req_s",
        pairs=50,
    ),
)

# Many accounts, all of them busy; buffers of the generator are small, because it has ten thousand connections.
_MANY_CLIENTS = f"--mode pubsub --size 128 --pubs {MANY * CLIENTS // 2} --subs {MANY * CLIENTS // 2} " + (
    "--wbuf 2048 --rbuf 4096"
)
MANY_ACCOUNTS = Family(
    _row(
        _MANY_CLIENTS,
        f"{MANY * CLIENTS:,} clients in pairs, 128 B: one account",
        "--user plain",
        400,
        least=100,
    ),
    (
        _row(
            _MANY_CLIENTS,
            f"{MANY * CLIENTS:,} clients in pairs, 128 B: {MANY:,} accounts",
            f"--user client --accounts {MANY}",
            400,
            least=100,
        ),
    ),
)
