"""What the other packages of ``chain`` share: errors, canonical JSON, cryptography, database."""
