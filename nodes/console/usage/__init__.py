"""Who used what: calls of each asset by day, buyer and column."""
