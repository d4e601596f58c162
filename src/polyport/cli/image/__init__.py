"""`polyport image`: `commands` are what users type, `desks` do it with process images or those of a daemon, `showing`
is how it looks."""

from polyport.cli.image.commands import app

__all__ = ["app"]
