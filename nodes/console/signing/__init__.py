"""What a person signs with a key that the node never holds: file, command or wallet."""
