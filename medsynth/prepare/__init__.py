"""Manifest to volumes on the model's grid, folds by subject and a data-adequacy report."""
