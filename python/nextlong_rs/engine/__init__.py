"""Threads and progress bars."""
