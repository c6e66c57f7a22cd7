"""The run directory: its layout, tasks, markers, lock, status and memory budget."""
