"""A finished run: reading, explaining and printing it."""
