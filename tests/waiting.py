"""What a test says when something that it waits for does not come."""


class NeverHeldError(AssertionError, TimeoutError):
    """A condition did not hold in time: a finding, not a fault of the test."""
