"""The supervisor's comparison of gateway, buyer and chain."""
