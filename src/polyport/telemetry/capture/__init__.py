"""Data capture between gateway and store: files in the home that workers write and control sends away."""
