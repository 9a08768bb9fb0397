"""Data sets, what is learned from their training part, and augmentation. Image files: `dltrain.data.images`."""

from dltrain.data.ahead import Ahead
from dltrain.data.augment import AUGMENTATIONS, Augmentation
from dltrain.data.cifar10 import Cifar10
from dltrain.data.columns import Column
from dltrain.data.digits import Digits
from dltrain.data.distort import ColourJitter, Rotation
from dltrain.data.fashion_mnist import FashionMnist
from dltrain.data.files import MissingData, default_data_dir, require_files
from dltrain.data.image_folder import ImageFolder
from dltrain.data.mnist import Mnist
from dltrain.data.npz import Npz, read_inputs
from dltrain.data.occlude import Cutout, RandomErasing
from dltrain.data.prepare import Prepared, generated, load_split, prepare
from dltrain.data.preprocess import Preprocessing, apply, read_rows
from dltrain.data.source import SOURCES, Fold, Normalize, OnDemand, Source, Split
from dltrain.data.split import Cuts, class_weights
from dltrain.data.synthetic import Signals, Valley, Volumes
from dltrain.data.table import Csv, Penguins
from dltrain.data.text import Text, read_ending
from dltrain.data.toys import Circle, Gaussians, Spiral, Xor

__all__ = [
    "AUGMENTATIONS",
    "SOURCES",
    "Ahead",
    "Augmentation",
    "Cifar10",
    "Circle",
    "ColourJitter",
    "Column",
    "Csv",
    "Cutout",
    "Cuts",
    "Digits",
    "FashionMnist",
    "Fold",
    "Gaussians",
    "ImageFolder",
    "MissingData",
    "Mnist",
    "Normalize",
    "Npz",
    "OnDemand",
    "Penguins",
    "Prepared",
    "Preprocessing",
    "RandomErasing",
    "Rotation",
    "Signals",
    "Source",
    "Spiral",
    "Split",
    "Text",
    "Valley",
    "Volumes",
    "Xor",
    "apply",
    "class_weights",
    "default_data_dir",
    "generated",
    "load_split",
    "prepare",
    "read_ending",
    "read_inputs",
    "read_rows",
    "require_files",
]
