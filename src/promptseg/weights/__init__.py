"""Weights files: which there are, reading them, writing them."""
