"""Breaks a real server while a real client calls it, and checks that what was promised holds: `python -m chaos`."""
