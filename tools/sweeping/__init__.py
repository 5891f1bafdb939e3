"""Parts of tools/sweep.py: what is to run, what has run already, running it here or on SLURM, how long it takes."""
