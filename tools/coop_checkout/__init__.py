"""Modules of tools/install_into_coop.py. They need only Python 3.8 and its standard library."""
