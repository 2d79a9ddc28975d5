"""Pictures of a training run, drawn with matplotlib (`pip install minicnn[plot]`).

figure      the empty sheet, its style, and writing it to a file
curves      a history as curves over the epochs
confusion   a confusion matrix as a table with colours
report      all of them on one sheet
"""

from minicnn.plot.confusion import plot_confusion_matrix
from minicnn.plot.curves import plot_history
from minicnn.plot.report import training_report

__all__ = ["plot_confusion_matrix", "plot_history", "training_report"]
