"""`polyport top`: what goes on, live in a terminal. `command` runs it, `home` reads, `picture` makes rows of it,
`drawing` shows them.
"""

from polyport.cli.top.command import top

__all__ = ["top"]
