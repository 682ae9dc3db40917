"""From prepared folds to latents and a checkpoint, step by step and resumable."""
