"""The side-by-side benchmark: Polyport and general proxies on the same work, in interleaved rounds, by one client.

`python -m bench` runs it; docs/performance.md says how to read what it prints.
"""
