"""The one error that bad input raises."""

from inputs import InputError as InputError
