"""Certificates, consents, credit queries, disputes and repairs."""
