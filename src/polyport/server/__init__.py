"""The composition root: settings in, running parts out. Nothing else makes parts and hands them to each other."""
