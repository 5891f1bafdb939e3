"""Makes the project's packages and the bundled Dassl API importable in every test."""

import os
import sys
from pathlib import Path

# Tests run in one process a core; more threads in each would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import runtime  # noqa: E402, F401
