"""Fetching datasets into CoOp's folders, and checking them; the command is `tools/prepare_data.py`."""
