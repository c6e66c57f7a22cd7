"""The stages of a run: each reads what earlier ones left and leaves files."""
