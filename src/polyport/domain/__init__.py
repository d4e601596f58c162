"""The values that all rooms share. Frozen, typed, no I/O: whatever one room hands to another is one of these."""
