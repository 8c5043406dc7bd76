"""Joint models whose data never moves."""
