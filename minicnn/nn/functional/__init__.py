"""Differentiable functions of tensors, with the Function that computes each beside it.

Layers hold parameters and call one of these; a network can be written with them alone.
"""

from minicnn.nn.functional.activation import (
    elu,
    gelu,
    hardtanh,
    leaky_relu,
    log_softmax,
    prelu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    softplus,
    swish,
    tanh,
)
from minicnn.nn.functional.classification import cross_entropy, nll_loss
from minicnn.nn.functional.conv import conv1d, conv2d, conv_transpose2d
from minicnn.nn.functional.dropout import dropout, dropout1d, dropout2d, stochastic_depth
from minicnn.nn.functional.embedding import embedding, one_hot
from minicnn.nn.functional.linear import linear
from minicnn.nn.functional.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    huber_loss,
    l1_loss,
    l1_penalty,
    l2_penalty,
    mse_loss,
    smooth_l1_loss,
)
from minicnn.nn.functional.norm import batch_norm, group_norm, layer_norm
from minicnn.nn.functional.padding import pad
from minicnn.nn.functional.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    global_avg_pool1d,
    global_avg_pool2d,
    global_max_pool1d,
    global_max_pool2d,
    max_pool1d,
    max_pool2d,
    min_pool1d,
    min_pool2d,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "dropout1d",
    "dropout2d",
    "elu",
    "embedding",
    "gelu",
    "global_avg_pool1d",
    "global_avg_pool2d",
    "global_max_pool1d",
    "global_max_pool2d",
    "group_norm",
    "hardtanh",
    "huber_loss",
    "l1_loss",
    "l1_penalty",
    "l2_penalty",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "min_pool1d",
    "min_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "pad",
    "prelu",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "stochastic_depth",
    "swish",
    "tanh",
]
