"""Attacks on whole cohorts."""
