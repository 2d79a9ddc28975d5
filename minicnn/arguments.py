"""What stands on the command line, turned from text into numbers, or refused in words.

Each function is a `type` of argparse: what it refuses becomes a message that names the option.
"""

import math
from argparse import ArgumentTypeError

from minicnn.backend import parse_device


def positive_integer(text: str) -> int:
    """Parse a whole number of at least 1."""
    return _whole_number(text, least=1)


def natural_number(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _whole_number(text, least=0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or number < least:
        raise ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
    return number


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise ArgumentTypeError(f"expected a number above 0, such as 0.01, got {text!r}")
    return number


def number_from_zero(text: str) -> float:
    """Parse a finite number of at least 0."""
    number = _number(text)
    if not 0 <= number < math.inf:
        raise ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return number


def _number(text: str) -> float:
    """Parse a number; what is none becomes NaN, which is in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def device(text: str) -> str:
    """Accept the name of a device."""
    try:
        parse_device(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    return text


def image_size(text: str) -> tuple[int, int, int]:
    """Parse channels, height and width of an image, such as 1,28,28 or 1x28x28."""
    try:
        channels, height, width = map(int, text.replace("x", ",").split(","))
    except ValueError:
        channels = height = width = 0
    if min(channels, height, width) < 1:
        raise ArgumentTypeError(
            f"expected channels, height and width of one image, such as 1,28,28, got {text!r}"
        )
    return channels, height, width
