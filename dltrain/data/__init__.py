"""Data sets, what is learned from their training part, and augmentation. Pictures and tables: the packages below."""

# what registers data sets and augmentations
from dltrain.data import synthetic, toys  # noqa: F401
from dltrain.data.ahead import Ahead
from dltrain.data.chosen import Chosen
from dltrain.data.files import MissingData, MissingPath, default_data_dir
from dltrain.data.npz import Npz, read_inputs
from dltrain.data.pictures import (  # noqa: F401
    cifar10,
    digit_codes,
    distort,
    faces,
    fashion_mnist,
    image_folder,
    mnist,
    mnist_photographs,
    occlude,
    openmoji,
    painting,
)
from dltrain.data.pictures.augment import AUGMENTATIONS, Augmentation
from dltrain.data.pictures.digits import Digits
from dltrain.data.pictures.pixels import Pixels
from dltrain.data.prepare import Prepared, generated, load_split, prepare
from dltrain.data.preprocess import Preprocessing, apply
from dltrain.data.source import SOURCES, Fold, OnDemand, Source, Split
from dltrain.data.split import Cuts, class_weights
from dltrain.data.tables.columns import Column
from dltrain.data.tables.rows import read_rows
from dltrain.data.tables.table import Penguins
from dltrain.data.text import read_ending
from dltrain.data.values import Value, vocabulary_of

__all__ = [
    "AUGMENTATIONS", "SOURCES", "Ahead", "Augmentation", "Chosen", "Column", "Cuts", "Digits", "Fold", "MissingData",
    "MissingPath", "Npz", "OnDemand", "Penguins", "Pixels", "Prepared", "Preprocessing", "Source", "Split", "Value",
    "apply", "class_weights", "default_data_dir", "generated", "load_split", "prepare", "read_ending",
    "read_inputs", "read_rows", "vocabulary_of",
]  # fmt: skip
