"""`polyport demo`: two frameworks that cannot share an environment, behind one endpoint, called with plain boto3."""

from polyport.cli.demo.command import demo

__all__ = ["demo"]
