"""Signers, key files and passphrases."""
