"""Run a server whose workers are ``fake_child.py``: the argument is JSON, ``{"options": {...}, "policy": {...}}``.

A reload reads other options from the file $FAKE_OPTIONS, if that is set.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from broker.options import Loaded, Options
from supervisor.policy import Policy
from supervisor.server import run_server


def load() -> Loaded:
    """The options as they stand in the file now."""
    return Loaded(Options(**json.loads(Path(os.environ["FAKE_OPTIONS"]).read_text())))


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    argv = [sys.executable, str(Path(__file__).with_name("fake_child.py"))]
    options = Options(**arguments["options"])
    sys.exit(run_server(options, argv, Policy(**arguments["policy"]), load=load))
