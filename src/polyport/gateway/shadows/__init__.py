"""Copies of calls for shadow variants: made once the caller has its answer, within bounds, and without a word to it."""
