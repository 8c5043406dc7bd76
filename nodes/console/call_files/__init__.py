"""Pages of calls by file."""
