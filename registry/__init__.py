"""Members, assets, grants, consents, credit, property and evidence. Knows no money."""
