"""`polyport key`, `user`, `role`, `policy`: who may call. They write rows; a running server sees them within a second.

Whoever can write to the home folder is the administrator: there is nobody else to ask for leave.
"""
