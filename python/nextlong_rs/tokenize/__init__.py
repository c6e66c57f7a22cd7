"""Tokenizers of any kind as one thing, and the special tokens of a sequence."""
