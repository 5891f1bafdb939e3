"""Reference implementations for tests: no caching, no packing, no code shared with the project."""
