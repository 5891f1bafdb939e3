"""Corrupts the test images of finished runs and evaluates the runs on them. The command is `tools/robustness.py`."""
