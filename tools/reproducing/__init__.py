"""Studies: tables, figures and experiments as data, their runs, and the page that shows them. See tools/reproduce.py."""
