"""Weights in and out: files of arrays, PyTorch's names and layouts, and what of a file goes where in a network."""
