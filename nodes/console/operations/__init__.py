"""Status of the contract calls that an act queued."""
