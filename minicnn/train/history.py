"""The history of a training run: one number for every measure and epoch."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from minicnn.files import replace_file


class History(Mapping):
    """Measures by name, each a list with one number an epoch: `history["val_loss"][0]`.

    `fit` fills it with "loss", the metrics such as "accuracy", the same of the validation data as
    "val_loss" and so on, "lr", the learning rate at the end of the epoch, and "seconds", the time
    that training and validation took.

    Attributes:
        epochs: number of epochs.
    """

    def __init__(self) -> None:
        self.epochs = 0
        self._measures: dict[str, list[float]] = {}

    def append(self, record: Mapping[str, float]) -> None:
        """Add an epoch.

        Args:
            record: a number for each measure; the names are the same for all epochs.

        Raises:
            ValueError, TypeError: if they are not, or a value is no number. The history is then
                unchanged.
        """
        if self.epochs and record.keys() != self._measures.keys():
            raise ValueError(
                f"History.append: expected the measures {', '.join(self)}, got {', '.join(record)}"
            )
        numbers = {name: float(value) for name, value in record.items()}
        for name, number in numbers.items():
            self._measures.setdefault(name, []).append(number)
        self.epochs += 1

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._measures:
            known = ", ".join(self._measures) or "none"
            raise KeyError(f"History has no measure {name!r}; it has {known}")
        return self._measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={values[-1]:.4g}" for name, values in self.items())
        return f"History({self.epochs} epochs; the last: {last or 'none'})"

    def save(self, path: str | os.PathLike) -> None:
        """Write the measures as JSON; NaN and infinity, for which JSON has no word, become null.

        Raises:
            OSError: if the file cannot be written; an older one is then left as it was.
        """
        measures = {
            name: [value if math.isfinite(value) else None for value in values]
            for name, values in self.items()
        }
        with replace_file(path) as file:
            file.write(json.dumps(measures, indent=2, allow_nan=False).encode() + b"\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "History":
        """Read what `save` wrote; null becomes NaN.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it does not hold a history.
        """
        try:
            measures = json.loads(Path(path).read_bytes())
            columns = [[math.nan if v is None else float(v) for v in c] for c in measures.values()]
            history = cls()
            for row in zip(*columns, strict=True):
                history.append(dict(zip(measures, row, strict=True)))
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not a history as History.save writes it: {error}") from error
        return history
