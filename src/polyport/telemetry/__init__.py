"""What happened, for people and programs that look on. Nothing here decides anything."""
