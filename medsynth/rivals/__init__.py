"""Rivals of the diffusion model, trained on the same folds in the same time: why diffusion?"""
