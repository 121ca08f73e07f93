"""The load generator `natsload.c`: built once, run on a core of its own.

It is exact: a run in which a message is missing, doubled or out of shape fails, so a number here is never a
number of lost messages. Its header comment has the meaning of every flag and field.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.servers import BenchError, Server, pinned

SOURCE = Path(__file__).with_name("natsload.c")
RUN_TIMEOUT = 90  # seconds, for one run of the generator


@dataclass(slots=True, frozen=True)
class Generator:
    """The built program, and the core that it runs on."""

    program: Path
    cpu: int

    def spawn(self, server: Server, arguments: tuple[str, ...]) -> subprocess.Popen[str]:
        """Start one run against a server."""
        command = [
            str(self.program),
            "--port",
            str(server.port),
            "--server-pids",
            ",".join(map(str, server.pids)),
            "--timeout",
            str(RUN_TIMEOUT),
            *arguments,
        ]
        with pinned(self.cpu):
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, server: Server, arguments: tuple[str, ...]) -> dict[str, float]:
        """One run from start to end: the numbers it printed. Raises BenchError if it failed."""
        return collect(self.spawn(server, arguments))


def collect(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a run: the numbers it printed. Raises BenchError if it failed."""
    try:
        out, err = process.communicate(timeout=RUN_TIMEOUT + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise BenchError("the load generator hangs") from None
    if process.returncode != 0:
        raise BenchError(err.strip() or f"the load generator ended with {process.returncode}")
    fields: dict[str, object] = json.loads(out)
    return {
        key: float(value)
        for key, value in fields.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


@contextlib.contextmanager
def built(cpu: int) -> Iterator[Generator]:
    """Compile the generator for the length of a block. Raises BenchError if that fails."""
    folder = Path(tempfile.mkdtemp(prefix="spline-bench-"))
    program = folder / "natsload"
    compiler = os.environ.get("CC", "cc")
    try:
        done = subprocess.run(
            [compiler, "-O2", "-Wall", "-pthread", "-o", str(program), str(SOURCE)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BenchError(f"cannot build {SOURCE.name}:\n{done.stderr}")
        yield Generator(program, cpu)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
