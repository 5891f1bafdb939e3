"""Parts of tools/report.py: read runs, group them, tabulate them, write the report. Without torch, to start fast."""

import runtime  # noqa: F401  (makes dassl importable, which the datasets need)
