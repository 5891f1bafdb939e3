"""Parts of `tools/serve.py`."""
