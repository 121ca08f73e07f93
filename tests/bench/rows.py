"""The table as data: which workloads are run, and what of each is the result.

`aim` is the ratio of throughputs that the data plane's prototype reached against nats-server 2.14 on such a
machine: what a complete server is held to.
"""

from dataclasses import dataclass
from typing import Literal

Rate = Literal["pub_msgs_s", "dlv_msgs_s", "req_s"]


@dataclass(slots=True, frozen=True)
class Row:
    """One workload. `msgs` is per publisher, so many that a full run takes about a second or two; fewer than
    `least` would be another workload."""

    name: str
    arguments: tuple[str, ...]
    msgs: int
    rate: Rate = "dlv_msgs_s"
    aim: float | None = None
    least: int = 1

    def command(self, share: float) -> tuple[str, ...]:
        """The generator's arguments for a share (0 to 1) of the full number of messages."""
        return (*self.arguments, "--msgs", str(max(self.least, int(self.msgs * share))))


def _row(
    name: str,
    arguments: str,
    msgs: int,
    rate: Rate = "dlv_msgs_s",
    aim: float | None = None,
    least: int = 1,
) -> Row:
    return Row(name, tuple(arguments.split()), msgs, rate, aim, least)


MAIN = (
    _row("publish only 16 B, 1 publisher", "--mode pub --size 16", 12_000_000, "pub_msgs_s", 4.2),
    _row("publish only 128 B, 4 publishers", "--mode pub --size 128 --pubs 4", 2_000_000, "pub_msgs_s", 3.6),
    _row("1 to 1, 16 B", "--mode pubsub --size 16", 4_500_000, aim=6.9),
    _row("1 to 1, 128 B", "--mode pubsub --size 128", 2_500_000, aim=4.1),
    _row("1 to 1, 1 KiB", "--mode pubsub --size 1024", 1_000_000, aim=2.0),
    _row("fan-out 1 to 10, 128 B", "--mode fanout --size 128 --subs 10", 400_000, aim=5.0),
    _row("queue group of 5, 128 B", "--mode queue --size 128 --subs 5", 2_000_000, aim=5.0),
    _row("request-reply, 1 pair", "--mode reqrep --size 128 --pubs 1", 7_000, "req_s", 1.3),
    _row("request-reply, 50 pairs", "--mode reqrep --size 128 --pubs 50", 1_000, "req_s", 1.8),
    _row(
        "100 k wildcard subscriptions, 100 k subjects",
        "--mode wild --size 128 --subs 10 --nsubs 100000 --subjects 100000",
        400_000,
        aim=2.9,
        least=200_000,  # each subject comes twice at least
    ),
)

OTHER = (
    _row("flush every message, 1 to 1, 128 B", "--mode pubsub --size 128 --batch 1", 200_000, aim=0.84),
    _row("fan-out 1 to 200, 128 B", "--mode fanout --size 128 --subs 200", 18_000, aim=3.0),
    _row("1 to 1, 8 KiB", "--mode pubsub --size 8192", 130_000, aim=1.8),
    _row("1 to 1, 60 kB", "--mode pubsub --size 60000 --wbuf 262144 --rbuf 262144", 20_000, aim=2.4),
)

# Pairs on two workers that share the core: (a row, and how many subscribers or responders it has).
CROSSING = (
    (_row("1 to 1, 128 B", "--mode pubsub --size 128", 2_000_000), 1),
    (_row("1 to 1, 1 KiB", "--mode pubsub --size 1024", 800_000), 1),
    (_row("request-reply, 50 pairs", "--mode reqrep --size 128 --pubs 50", 1_000, "req_s"), 50),
)

# Over TLS, by tlsload.py: the aim is the CPU of the other server.
TLS = (
    _row("1 to 1, 128 B", "--mode pubsub --size 128", 1_500_000, aim=1.0),
    _row("1 to 1, 1 KiB", "--mode pubsub --size 1024", 300_000, aim=1.0),
    _row("fan-out 1 to 10, 128 B", "--mode fanout --size 128 --subs 10", 200_000, aim=1.0),
    _row("request-reply, 1 pair", "--mode reqrep --size 128", 4_000, "req_s", aim=1.0),
)
