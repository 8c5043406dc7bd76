"""See the modules of ``chain.bundle``."""
