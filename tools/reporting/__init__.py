"""Modules of tools/report.py: read runs, sort them into tables, write the report. Torch is not imported, for speed."""

import runtime  # noqa: F401  (makes dassl importable, which the datasets need)
