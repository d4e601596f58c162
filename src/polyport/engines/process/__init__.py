"""Containers as plain processes: one small supervisor process per instance runs them and outlives whoever asked for it.

`engine` runs inside control. `supervisor`, and what it imports (`container`, `launch`, `isolation`, `logs`, `files`,
`folders`, `processes`), is a program of its own that loads the standard library only: its start is part of
every instance's start.
"""
