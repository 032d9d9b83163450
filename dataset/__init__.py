"""Pixels on disk, and how they become tensors."""
