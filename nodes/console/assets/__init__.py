"""The catalogue of all members' assets."""
