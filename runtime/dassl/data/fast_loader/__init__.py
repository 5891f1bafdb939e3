"""Faster batches, equal bit for bit to those of torch's loader: decoded images and worker processes are kept."""
