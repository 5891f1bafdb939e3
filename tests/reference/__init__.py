"""Plain implementations that everything is compared with: no caching, no packing, nothing shared with the project."""
