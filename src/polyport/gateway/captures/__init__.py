"""Data capture: what goes into and comes out of chosen calls is kept, after the caller has its answer."""
