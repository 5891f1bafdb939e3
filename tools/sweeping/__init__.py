"""Modules of tools/sweep.py: the jobs of a protocol, their states, local and SLURM runs, time estimates, summaries."""
