"""See the modules of ``chain.statements``."""
