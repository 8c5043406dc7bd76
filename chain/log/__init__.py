"""See the modules of ``chain.log``."""
