"""See the modules of ``chain.core``."""
