"""A finished run as a classifier."""
