"""Spectral normalisation of weights: divided by how much they can stretch an input."""

from typing import Any

from dltrain.backend import array_module
from dltrain.engine import op

Array = Any


@op
def spectral_norm(w: Array, *, u: Array, v: Array, axis: int = -1) -> Any:
    """w / σ, σ = vᵀ M u, the largest singular value of M where u and v belong to it (Miyato et al., "Spectral
    Normalization for Generative Adversarial Networks", 2018).

    w: weights of any shape, whose outputs lie along `axis`; M: (inputs, outputs), see `as_matrix`; u: (outputs,), v:
    (inputs,), unit vectors that count as constants. Then dσ/dM = v uᵀ, and with y = w / σ

        dLoss/dw = (g - (Σ g · y) · v uᵀ) / σ
    """
    xp = array_module(w)
    sigma = v @ (as_matrix(w, axis) @ u)
    sigma = sigma + (sigma == 0)  # of weights that are all 0
    y = w / sigma
    moved = xp.moveaxis(w, axis, -1).shape

    def back(g: Array) -> Array:
        slope = xp.moveaxis((v[:, None] * u).reshape(moved), -1, axis)
        return (g - (g * y).sum() * slope) / sigma

    return y, (back,)


def as_matrix(w: Array, axis: int) -> Array:
    """(inputs, outputs)"""
    return array_module(w).moveaxis(w, axis, -1).reshape(-1, w.shape[axis])
