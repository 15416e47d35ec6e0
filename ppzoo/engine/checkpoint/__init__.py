"""Checkpoints: saved as atomically replaced sets of files, and validated before they are loaded."""
