"""The table of a network, in the form that Keras made known: shapes, parameters, and what it costs.

`minicnn.costs` measures; this file only prints. `cost` shows the same with more columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.costs.counting import Cost, Row, measure
from minicnn.costs.table import framed, with_unit
from minicnn.nn import Module

__all__ = ["Row", "Summary", "summary"]


@dataclass(frozen=True, repr=False)
class Summary(Cost):
    """The table; `print(summary(...))` shows it. Its attributes are those of `costs.Cost`."""

    def __str__(self) -> str:
        titles = ("Layer (type)", "Output Shape", "Param #", "Mult-Adds")
        lines = [
            (f"{r.name} ({r.kind})", r.output_shape, f"{r.parameters:,}", f"{r.multiply_adds:,}")
            for r in self.rows
        ]
        totals = [
            f"Total params: {self.total:,} ({with_unit(self.parameter_bytes)})",
            f"Trainable params: {self.trainable:,}",
            f"Non-trainable params: {self.non_trainable:,}"
            f" (running statistics: {self.statistics:,})",
            f"Mult-adds: {self.multiply_adds:,} per example (a multiplication with its addition "
            "counts once)",
            f"Activations, inference: {with_unit(self.inference_bytes)} per example (largest "
            "total alive at one time)",
            f"Activations, training: {with_unit(self.training_bytes)} per example (all outputs, "
            "kept for backward)",
            f"Tape, training: {with_unit(self.tape_bytes)} per example (of these, what backward reads)",
        ]
        return framed(titles, lines, totals, self.field)

    __repr__ = __str__


def summary(
    model: Module,
    input_size: tuple[int, ...] | list[tuple[int, ...]],
    dtype: Any = np.float32,
) -> Summary:
    """Describe `model` by running it once, in inference mode, on one example.

    What is counted, and what the arguments mean, `minicnn.costs.cost` says.

    Args:
        model: the network.
        input_size: the shape of one example, without the batch axis, such as (1, 28, 28); a list of
            shapes for a model with several inputs. Or a batch, of which the first example is taken.
        dtype: of the input; integers for an Embedding.

    Raises:
        TypeError: `input_size` is no tuple of sizes, nor a list of such.
        ValueError: the model does not take inputs of this shape; the layer's message says why.
    """
    return Summary(**vars(measure("summary: input_size", model, input_size, dtype)))
