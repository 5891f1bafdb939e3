"""A loader of the same batches as torch's, bit for bit, that caches decoded images and keeps its worker processes."""
