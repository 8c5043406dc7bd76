"""The node's evidence log: what it said, in order, so that nothing can be taken back or slipped in."""
