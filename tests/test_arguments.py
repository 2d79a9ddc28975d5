"""Text from the command line: taken as numbers, or refused with what was expected and what came."""

from argparse import ArgumentTypeError

import pytest

from minicnn import arguments


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (arguments.positive_integer, "1", 1),
        (arguments.natural_number, "0", 0),
        (arguments.positive_number, "1e-3", 0.001),
        (arguments.number_from_zero, "0", 0.0),
        (arguments.image_size, "1,28,28", (1, 28, 28)),
        (arguments.image_size, "1x28x28", (1, 28, 28)),
        (arguments.device, "cpu", "cpu"),
    ],
)
def test_taken(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts", "expected"),
    [
        (arguments.positive_integer, ("0", "1.5", "many", ""), "a whole number of at least 1"),
        (arguments.natural_number, ("-1", "abc"), "a whole number of at least 0"),
        (arguments.positive_number, ("0", "-1", "nan", "inf", "x"), "a number above 0"),
        (arguments.number_from_zero, ("-1", "nan", "inf", "x"), "a number of at least 0"),
        (arguments.image_size, ("28", "a,b,c", "1,,28", "0,28,28"), "such as 1,28,28"),
    ],
)
def test_refused(parse, texts, expected):
    for text in texts:
        with pytest.raises(ArgumentTypeError, match=f"expected .*{expected}.*, got {text!r}"):
            parse(text)
