"""From somebody else's checkpoint files to our generator, by an exact mapping or not at all."""
