"""Files of a run: checkpoints, tuned weights, run records, locks, curves; and plugins."""
