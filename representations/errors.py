"""The one error that bad input raises."""


class InputError(ValueError):
    """Bad input. The message is one line that names what, where and the remedy."""
