"""Optimizers and learning-rate schedules, with PyTorch's names and defaults.

optimizer       the loop over parameters, groups and saved state
sgd, adam, adamw, rmsprop       one update rule each
in_graphs       their steps as parts of CUDA graphs
scheduler       counting epochs and writing rates
lr_scheduler, one_cycle, plateau        the schedules
"""

from minicnn.optim import lr_scheduler
from minicnn.optim.adam import Adam
from minicnn.optim.adamw import AdamW
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.rmsprop import RMSprop
from minicnn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
