"""What a run leaves on disk and is resumed from: checkpoints, tuned weights, records, locks, curves."""
