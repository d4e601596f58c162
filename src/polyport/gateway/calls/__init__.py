"""What becomes of a request: a call through containers, a way to control, or a refusal."""
