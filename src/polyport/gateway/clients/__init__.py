"""Connections of clients: requests off the wire, one after the other, and answers back in their order."""
