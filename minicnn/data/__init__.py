"""Data: reading image files, splitting, transforming, and serving batches."""

from minicnn.data.collate import collate
from minicnn.data.dataset import Dataset, Subset, TensorDataset
from minicnn.data.idx import read_idx, write_idx
from minicnn.data.images import ImageData, load_idx_folder
from minicnn.data.loader import DataLoader
from minicnn.data.mnist import load_fashion_mnist, load_fashion_mnist_sample, load_mnist
from minicnn.data.prepare import Prepared, prepare
from minicnn.data.split import random_split, train_val_test_split
from minicnn.data.transforms import Standardize, rotate, to_float

__all__ = [
    "DataLoader",
    "Dataset",
    "ImageData",
    "Prepared",
    "Standardize",
    "Subset",
    "TensorDataset",
    "collate",
    "load_fashion_mnist",
    "load_fashion_mnist_sample",
    "load_idx_folder",
    "load_mnist",
    "prepare",
    "random_split",
    "read_idx",
    "rotate",
    "to_float",
    "train_val_test_split",
    "write_idx",
]
