"""See the modules of ``chain.keys``."""
