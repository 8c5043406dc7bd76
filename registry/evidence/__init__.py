"""The node's evidence log: an append-only log of its statements and events."""
