"""The control plane: SageMaker's operations, dict in and dict out, and the ASGI application that serves them.

`operations` is the table; one module per resource family holds the functions. Each checks the rules between members
(the service model's own constraints were checked before), writes what is wanted, and returns; nothing is started here.
"""
