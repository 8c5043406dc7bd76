"""Who used what: calls that this node's gateway answered, counted by day."""
