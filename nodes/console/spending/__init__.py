"""Pages of a bank's spending."""
