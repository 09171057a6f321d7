"""Compute: pure numbers from a run's records; nothing here knows of figures, HTML or files."""
