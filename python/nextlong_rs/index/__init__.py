"""Nearest neighbours by cosine: one search, an index that is kept, and the engine of a run."""
