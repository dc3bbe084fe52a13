"""The one error of the testbed: the bed itself is broken, as opposed to the program under test."""


class TestbedError(RuntimeError):
    """A part of the testbed could not be made or used; the message says which and shows what was seen."""

    __test__ = False  # pytest would collect a class whose name starts with Test
