"""Who is calling, and what they may do: keys, session tokens and decisions, from one access table.

Both fronts use it, the gateway for invocations and the API for all else, each by its own copy of the table.
"""
