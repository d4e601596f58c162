"""What starts containers. An engine is eight verbs (`contract`), and everything above knows nothing else of it."""
