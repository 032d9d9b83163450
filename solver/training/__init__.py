"""Training: from pictures to weights."""
