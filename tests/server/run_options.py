"""Run a server whose options are given as JSON, without the checks that a file's have to pass (times may be short)."""

from __future__ import annotations

import json
import sys

from broker.options import Options
from supervisor.children import default_argv
from supervisor.server import run_server

if __name__ == "__main__":
    sys.exit(run_server(Options(**json.loads(sys.argv[1])), default_argv()))
