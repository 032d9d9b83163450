"""Sampling: a picture and a network in, the enlarged picture out."""
