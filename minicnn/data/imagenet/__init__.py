"""The names of ImageNet's classes; see NOTICE in this folder for their source and licence."""

from functools import cache
from importlib import resources


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of the 1,000 classes of ImageNet, in the order of the outputs of published networks."""
    text = resources.files(__name__).joinpath("classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
