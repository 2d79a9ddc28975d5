"""`minicnn summary`: the table of a network's layers."""

import argparse

from minicnn import models
from minicnn.summary import summary


def summary_command(options: argparse.Namespace) -> None:
    """Print the table of a network."""
    model = models.create(options.model, num_classes=options.classes)
    try:
        print(summary(model, options.input_size))
    except ValueError as error:
        error.add_note(f"{options.model}: choose another size with --input-size C,H,W")
        raise
