"""The clearing book by day."""
