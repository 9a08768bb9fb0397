"""Layers, initial weights and losses. What is imported here is what a config can name."""

from dltrain.nn.activation import ActivationName
from dltrain.nn.connect import Connected, Conv, ConvTranspose, Dense, DepthwiseConv
from dltrain.nn.container import Container
from dltrain.nn.dropout import Dropout
from dltrain.nn.init import INITIALIZERS, Initializer
from dltrain.nn.join import Join
from dltrain.nn.layer import LAYERS, Context, Layer
from dltrain.nn.loss import LOSSES, Loss
from dltrain.nn.network import INPUT, Network
from dltrain.nn.networks import (
    Applied,
    Drawn,
    Given,
    Inside,
    Networks,
    OneHot,
    Term,
    Value,
    in_order,
    side_by_side,
    taken_whole,
)
from dltrain.nn.norm import NORMS, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, NormSettings
from dltrain.nn.parameter import Buffer, Parameter, shape_text
from dltrain.nn.penalty import Penalty
from dltrain.nn.picture import Picture
from dltrain.nn.pool import AveragePool, Flatten, GlobalAveragePool, GlobalMaxPool, MaxPool
from dltrain.nn.recurrent import Gru, Lstm, Recurrent, Rnn
from dltrain.nn.resize import Pad, Reshape, Upsample
from dltrain.nn.sequence import Attention, Embedding, Positional
from dltrain.nn.values import TERMS, VALUES, Distribution, Expression

__all__ = [
    "INITIALIZERS", "INPUT", "LAYERS", "LOSSES", "NORMS", "TERMS", "VALUES", "ActivationName", "Applied",
    "Attention", "AveragePool", "BatchNorm", "Buffer", "Connected", "Container", "Context", "Conv", "ConvTranspose",
    "Dense", "DepthwiseConv", "Distribution", "Drawn", "Dropout", "Embedding", "Expression", "Flatten", "Given",
    "GlobalAveragePool", "GlobalMaxPool", "GroupNorm", "Gru", "Initializer", "Inside", "InstanceNorm", "Join",
    "Layer", "LayerNorm", "Loss", "Lstm", "MaxPool", "Network", "Networks", "NormSettings", "OneHot", "Pad",
    "Parameter", "Penalty", "Picture", "Positional", "Recurrent", "Reshape", "Rnn", "Term", "Upsample", "Value",
    "in_order", "shape_text", "side_by_side", "taken_whole",
]  # fmt: skip
