"""The clearing book: what moved on the chain day by day, and the closing of a day."""
