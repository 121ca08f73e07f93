"""Results, their medians and ratios, and how they are printed or written as JSON."""

from dataclasses import dataclass, field
from statistics import median

HIGHER_IS_BETTER = frozenset({"rate", "connects_per_s"})
NAME_WIDTH = 50

Numbers = dict[str, float]


@dataclass(slots=True)
class Result:
    """A row of one of the tables: the numbers of every run by side ("ours", "peer", ...), and what went
    wrong."""

    section: str
    name: str
    runs: dict[str, list[Numbers]] = field(default_factory=dict)
    aim: float | None = None
    failures: list[str] = field(default_factory=list)

    def medians(self, side: str) -> Numbers:
        """The median of each number over the runs of a side; empty if it has none."""
        runs = self.runs.get(side, [])
        return {key: median(run[key] for run in runs if key in run) for key in (runs[0] if runs else {})}

    def ratios(self, side: str = "ours", other: str = "peer") -> Numbers:
        """How many times better a side is than the other, for each number that both have: above 1 it is
        better."""
        ours, theirs = self.medians(side), self.medians(other)
        found = {}
        for key in ours.keys() & theirs.keys():
            better, worse = (ours[key], theirs[key]) if key in HIGHER_IS_BETTER else (theirs[key], ours[key])
            if worse > 0:
                found[key] = better / worse
        return found

    def as_json(self) -> dict[str, object]:
        """The row as plain data: medians, ratios and every single run."""
        return {
            "section": self.section,
            "name": self.name,
            "aim": self.aim,
            "medians": {side: self.medians(side) for side in self.runs},
            "ratios": self.ratios(),
            "ratios_to_same": self.ratios("ours", "same"),
            "runs": self.runs,
            "failures": self.failures,
        }


def count(value: float) -> str:
    """A number per second, short: 12.3 M, 45.6 k, 789."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.{1 if scaled >= 10 else 2}f}{unit}"
    return f"{value:.0f}"


def _cell(numbers: Numbers) -> str:
    if "rate" not in numbers:
        return f"{'-':>10} {'':>11}"
    return f"{count(numbers['rate']) + '/s':>10} {numbers['cpu_us']:>8.3f} us"


def _times(ratio: float | None) -> str:
    return f"{'-':>7}" if ratio is None else f"{ratio:>6.2f}x"


def workload_heading(title: str, ours: str, peer: str) -> str:
    """The head of a table of workload rows."""
    return (
        f"\n{title}\n{'':{NAME_WIDTH}} {ours:>22} {peer:>22} {'speed':>7} {'CPU':>7} {'aim':>7}\n"
        f"{'-' * (NAME_WIDTH + 71)}"
    )


def workload_line(result: Result) -> str:
    """One row: both sides' rate and server CPU per message, the two ratios, and the ratio of rates to
    reach."""
    ratios = result.ratios()
    line = (
        f"{result.name:{NAME_WIDTH}} {_cell(result.medians('ours'))} {_cell(result.medians('peer'))} "
        f"{_times(ratios.get('rate'))} {_times(ratios.get('cpu_us'))} {_times(result.aim)}"
    )
    return "\n".join([line, *_failures(result)])


def sharing_heading(title: str, ours: str, peer: str) -> str:
    """The head of a table of workload rows that are also compared with the first side's own within an
    account."""
    return (
        f"\n{title} (the last two columns: speed and CPU against {ours} within one account)\n"
        f"{'':{NAME_WIDTH}} {ours:>22} {peer:>22} {'speed':>7} {'CPU':>7} {'/one':>7} {'/one':>7}\n"
        f"{'-' * (NAME_WIDTH + 79)}"
    )


def sharing_line(result: Result) -> str:
    """One row: both sides, the two ratios, and the two ratios to the same workload within an account."""
    ratios, same = result.ratios(), result.ratios("ours", "same")
    line = (
        f"{result.name:{NAME_WIDTH}} {_cell(result.medians('ours'))} {_cell(result.medians('peer'))} "
        f"{_times(ratios.get('rate'))} {_times(ratios.get('cpu_us'))} "
        f"{_times(same.get('rate'))} {_times(same.get('cpu_us'))}"
    )
    return "\n".join([line, *_failures(result)])


def crossing_heading(peer: str) -> str:
    """The head of the table about two workers."""
    return (
        f"\nTwo workers that share the core (the last two columns compare rates)\n"
        f"{'':{NAME_WIDTH}} {'same worker':>22} {'across workers':>22} {peer:>22} {'/same':>7} {'/peer':>7}\n"
        f"{'-' * (NAME_WIDTH + 86)}"
    )


def crossing_line(result: Result) -> str:
    """One row: within a worker, across workers and the peer; across against each of the others."""
    cells = " ".join(_cell(result.medians(side)) for side in ("same", "ours", "peer"))
    same, peer = result.ratios("ours", "same").get("rate"), result.ratios().get("rate")
    return "\n".join(
        [f"{result.name:{NAME_WIDTH}} {cells} {_times(same)} {_times(peer)}", *_failures(result)]
    )


def measure_heading(title: str, ours: str, peer: str) -> str:
    """The head of a table of single numbers."""
    return f"\n{title}\n{'':{NAME_WIDTH}} {ours:>14} {peer:>14} {'better':>7}\n{'-' * (NAME_WIDTH + 38)}"


def measure_lines(result: Result) -> str:
    """One line for each number of a measurement; a number that only one side has stands alone."""
    ours, theirs, ratios = result.medians("ours"), result.medians("peer"), result.ratios()
    lines = []
    for key in dict.fromkeys([*ours, *theirs]):
        cells = [f"{side[key]:>14,.3f}" if key in side else f"{'-':>14}" for side in (ours, theirs)]
        name = f"{result.name}: {key}" if result.name else key
        lines.append(f"{name:{NAME_WIDTH}} {cells[0]} {cells[1]} {_times(ratios.get(key))}")
    return "\n".join([*lines, *_failures(result)])


def _failures(result: Result) -> list[str]:
    return [f"    FAILED {result.name}: {text}" for text in result.failures]
