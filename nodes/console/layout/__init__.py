"""The frame of every page, the first page, and the language switch."""
