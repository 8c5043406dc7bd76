"""The catalogue as a buyer searches it, and the course from an asset to its first call."""
