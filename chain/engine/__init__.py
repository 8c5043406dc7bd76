"""The chain engine: building ``kcn``, its genesis, and networks of validators on this machine."""
