"""A firm's or citizen's own pages: log-in with a certified one-time key, and what it may see."""
