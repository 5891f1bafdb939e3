"""Parts of tools/install_into_coop.py. They need Python 3.8 and its standard library, nothing else."""
