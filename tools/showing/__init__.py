"""Parts of tools/show.py: the page of a run."""
