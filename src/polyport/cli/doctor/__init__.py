"""`polyport doctor`: what this machine gives Polyport, what is wrong or weaker than it could be, and what to do.

`command` runs the checks of the other modules, each of which yields `findings.Finding`.
"""

from polyport.cli.doctor.command import doctor

__all__ = ["doctor"]
