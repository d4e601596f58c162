"""One module per revision. A published revision is never edited; the next one changes what it made."""
