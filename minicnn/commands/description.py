"""`minicnn summary`: the table of a network's layers."""

import argparse

import numpy as np

from minicnn import models
from minicnn.summary import summary


def summary_command(options: argparse.Namespace) -> None:
    """Print the table of a network."""
    classes = {} if options.classes is None else {"num_classes": options.classes}
    model = models.create(options.model, **classes)
    usual = models.example_shape(options.model)
    dtype = np.float32 if len(usual) == 3 else np.int64  # words are numbers of a table's rows
    try:
        print(summary(model, options.input_size or usual, dtype))
    except ValueError as error:
        size = ",".join(map(str, usual))
        error.add_note(
            f"{options.model}: choose another size with --input-size; it is made for {size}"
        )
        raise
