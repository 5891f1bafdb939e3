"""Parts of tools/retrieve.py."""
