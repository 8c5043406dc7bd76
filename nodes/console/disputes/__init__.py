"""Disputes: the list, one dispute with what this organisation may do, and the arbiter's ruling."""
