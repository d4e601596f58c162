"""Metrics: which there are, and what has been measured."""
