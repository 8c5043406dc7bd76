"""The proof behind a number: log entry, checkpoint, block, and the command that checks it."""
