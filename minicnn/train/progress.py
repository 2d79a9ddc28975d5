"""What a person sees while a network trains: a bar within an epoch, and a line after it.

The bar needs the package tqdm and a terminal. Without them (a log file, a notebook) the lines
remain.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from minicnn.autograd import Tensor

SECONDS = 0.2
"""How long the bar shows a loss before the next one is read from a GPU."""


class Progress:
    """Shows how far training has come, on standard error.

    Args:
        epochs: how many there will be.
        show: False for complete silence.
    """

    def __init__(self, epochs: int, show: bool) -> None:
        self.epochs = epochs
        self.show = show
        self._bar: Any = None
        self._read = 0.0  # when a loss was shown

    def watch(self, batches: Iterable, epoch: int) -> Iterable:
        """Return `batches`, with a bar that follows them."""
        if not self.show or not sys.stderr.isatty():
            return batches
        try:
            from tqdm import tqdm
        except ImportError:
            return batches
        self._bar = tqdm(batches, desc=self._title(epoch), leave=False, unit="batch")
        return self._bar

    def note(self, loss: float | Tensor) -> None:
        """Show the loss of the batch just computed; from a GPU, it is read a few times a second only."""
        now = time.perf_counter()
        if self._bar is not None and (isinstance(loss, float) or now > self._read + SECONDS):
            self._read = now
            self._bar.set_postfix_str(f"loss {float(loss):.4f}", refresh=False)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(self, epoch: int, record: Mapping[str, float]) -> None:
        """Print the measures of an epoch."""
        if self.show:
            measures = "  ".join(
                f"{name} {value:.4g}" if name == "lr" else f"{name} {value:.4f}"
                for name, value in record.items()
                if name != "seconds"
            )
            print(f"{self._title(epoch)}  {measures}  {record['seconds']:.1f} s", file=sys.stderr)

    def _title(self, epoch: int) -> str:
        return f"epoch {epoch:>{len(str(self.epochs))}}/{self.epochs}"
