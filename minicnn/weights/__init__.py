"""Weights in files of others: safetensors, NumPy's `.npz`, and PyTorch's `.pth`."""

from minicnn.weights.files import load_weights, read_weights, save_weights, write_weights

__all__ = ["load_weights", "read_weights", "save_weights", "write_weights"]
