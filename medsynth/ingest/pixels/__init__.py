"""What pixels may give away: burned-in text and faces."""
