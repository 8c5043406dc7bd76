"""Contract calls that an act queued: where each stands."""
