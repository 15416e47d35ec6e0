"""Checkpoints of a run: written as complete sets of files, validated before they are used."""
