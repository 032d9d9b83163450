"""Networks out of PyTorch."""
