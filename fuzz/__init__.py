"""Fuzzing what strangers send: `python -m fuzz`. Not part of the package."""
