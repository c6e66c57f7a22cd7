"""Nearest neighbours by cosine: a single search, a persistent index, and the engine of a run."""
