"""See the modules of ``chain.ethereum``."""
