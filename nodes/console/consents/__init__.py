"""Pages of the consents that a bank relies on."""
