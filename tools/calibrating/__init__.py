"""Parts of tools/calibrate.py: which images calibrate a run, the results on test images, the output."""
