"""Data assets: publication, catalogue, serving and status."""
