"""The containers as a gateway knows them: the route table in use, and pooled connections to their instances."""
