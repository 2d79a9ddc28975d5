"""Training a network, measuring it, and using it.

training        fit: the loop over epochs and batches
evaluation      evaluate and predict: the network in inference mode
recording       when inference is replayed
extraction      what a layer finds, as arrays
metrics         measures of quality
early_stopping  when to stop
auxiliary       the loss of networks with several heads
history         what happened
"""

from minicnn.train.auxiliary import auxiliary_loss
from minicnn.train.early_stopping import EarlyStopping
from minicnn.train.evaluation import evaluate, predict
from minicnn.train.extraction import extract_features
from minicnn.train.history import History
from minicnn.train.metrics import (
    accuracy,
    confusion_matrix,
    mean_absolute_error,
    top_k_accuracy,
)
from minicnn.train.training import fit

__all__ = [
    "EarlyStopping",
    "History",
    "accuracy",
    "auxiliary_loss",
    "confusion_matrix",
    "evaluate",
    "extract_features",
    "fit",
    "mean_absolute_error",
    "predict",
    "top_k_accuracy",
]
