"""A buyer's spending by agreement and month, against caps and deposit."""
