"""Bundles: built by ``builder``, verified by ``verifier`` against a ``trust`` file."""
