"""A real board, reached over SSH."""
