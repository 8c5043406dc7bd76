"""What the organisation earned: by agreement and month, claimed and not claimed yet."""
