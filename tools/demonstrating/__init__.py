"""Parts of tools/demo.py: a page to try a run in."""
