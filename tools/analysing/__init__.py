"""Analyses of finished runs: what fine-tuning changed, its gradients, its image features.

Each analysis is a function from a run to numbers; `figures.py` plots the numbers of several runs, and `page.py` writes
the page of `tools/analyse.py`.
"""
