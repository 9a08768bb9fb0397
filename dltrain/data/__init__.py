"""Data sets, what is learned from their training part, and augmentation. Image files: `dltrain.data.images`."""

from dltrain.data.augment import AUGMENTATIONS, Augmentation
from dltrain.data.cifar10 import Cifar10
from dltrain.data.digits import Digits
from dltrain.data.files import MissingData, default_data_dir, require_files
from dltrain.data.mnist import Mnist
from dltrain.data.npz import Npz, read_inputs
from dltrain.data.prepare import Prepared, generated, load_split, prepare
from dltrain.data.preprocess import Preprocessing, apply
from dltrain.data.source import SOURCES, Normalize, Source, Split

__all__ = [
    "AUGMENTATIONS",
    "SOURCES",
    "Augmentation",
    "Cifar10",
    "Digits",
    "MissingData",
    "Mnist",
    "Normalize",
    "Npz",
    "Prepared",
    "Preprocessing",
    "Source",
    "Split",
    "apply",
    "default_data_dir",
    "generated",
    "load_split",
    "prepare",
    "read_inputs",
    "require_files",
]
