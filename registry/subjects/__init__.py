"""Firms and citizens as this node knows them: by the certified one-time keys of theirs it holds."""
