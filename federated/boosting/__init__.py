"""Additively homomorphic encryption, for joint trees."""
