"""What computes a network: torch, the plain way or a faster one."""
