"""Smaller and faster generators, learned from a trained one alone: no real scan is read."""
