"""N-way K-shot episodes: sampling, classifiers, results. The command is `tools/episodes.py`."""
