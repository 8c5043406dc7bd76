"""Publishing an asset step by step, from a file or a configured source."""
