"""Joint models over columns that different parties hold of the same people."""
