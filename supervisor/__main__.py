"""``python -m supervisor``: the same as the command ``spline-server``."""

from __future__ import annotations

import sys

from supervisor.main import main

if __name__ == "__main__":
    sys.exit(main())
