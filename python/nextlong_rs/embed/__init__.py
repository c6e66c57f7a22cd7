"""Embedders: texts in, one vector of length 1 for each text out."""
