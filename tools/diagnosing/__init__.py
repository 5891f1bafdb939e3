"""The parts of tools/doctor.py: what it looks at, and how it reports what it finds."""
