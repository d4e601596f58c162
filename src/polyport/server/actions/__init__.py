"""What is done when an alarm changes its state: webhooks and commands, which only the operator can name."""
