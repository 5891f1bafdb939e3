"""Studies: tables, figures and experiments as data, their runs, and their page. See tools/reproduce.py."""
