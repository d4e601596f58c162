"""What the reconciler's steps cost, since control began."""

from polyport.domain.distributions import Distribution


class Steps:
    """Counted by `reconcile`."""

    def __init__(self) -> None:
        #: Microseconds of those that came to their end.
        self.took = Distribution()
        self.failures = 0

    def add(self, seconds: float) -> None:
        """One step is done."""
        self.took.add(max(seconds, 0.0) * 1e6)
