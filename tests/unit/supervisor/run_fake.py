"""Run a server whose workers are ``fake_child.py``: the argument is JSON, ``{"options": {...}, "policy": {...}}``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from broker.options import Options
from supervisor.policy import Policy
from supervisor.server import run_server

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    argv = [sys.executable, str(Path(__file__).with_name("fake_child.py"))]
    sys.exit(run_server(Options(**arguments["options"]), argv, Policy(**arguments["policy"])))
