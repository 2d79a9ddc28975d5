"""Neural networks: modules, layers, losses and their functional forms, under PyTorch's names."""

from minicnn.nn import functional, init, utils
from minicnn.nn.activation import (
    ELU,
    GELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from minicnn.nn.container import ModuleDict, ModuleList, Sequential
from minicnn.nn.conv import Conv1d, Conv2d, ConvTranspose2d
from minicnn.nn.dropout import Dropout, Dropout1d, Dropout2d
from minicnn.nn.lazy import (
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyConv1d,
    LazyConv2d,
    LazyConvTranspose2d,
    LazyLinear,
)
from minicnn.nn.linear import Embedding, Flatten, Identity, Linear, Unflatten
from minicnn.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm
from minicnn.nn.padding import ReflectionPad2d, ReplicationPad2d, ZeroPad2d
from minicnn.nn.parameter import Parameter, UninitializedParameter
from minicnn.nn.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    MaxPool1d,
    MaxPool2d,
    MinPool1d,
    MinPool2d,
)
