"""Loads finished runs as classifiers."""
