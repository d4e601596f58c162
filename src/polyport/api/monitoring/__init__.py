"""CloudWatch: metrics and alarms, as its clients know them."""
