"""What runs in the peers' own environments; imported by nothing here."""
