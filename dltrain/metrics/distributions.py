"""What made pictures look like to a network that knows the real ones: how far off they are as a whole, and for what it
takes them. All in float64, summed in the order of the examples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def frechet_distance(a: Array, b: Array) -> float:
    """The squared Fréchet distance of two sets of features, (N, D) and (M, D), each taken for a normal distribution:
    ‖μa - μb‖² + tr(Ca + Cb - 2 (Ca^½ Cb Ca^½)^½) (Dowson and Landau, 1982; Heusel et al., GANs Trained by a Two
    Time-Scale Update Rule, 2017, eq. 6).

    It depends on the network that gives the features and on N and M: compare it with distances of as many examples in
    the features of the same network only.
    Raises ValueError where a set has fewer than two examples, which have no covariance.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a Fréchet distance takes two examples of each kind, here are {len(a)} and {len(b)}")
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    root = _root(cov_a)
    inner = np.linalg.eigvalsh(root @ cov_b @ root)  # not negative but for rounding
    traces = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + traces))


def _moments(features: Array) -> tuple[Array, Array]:
    """Mean (D,) and covariance (D, D), divided by N - 1."""
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def _root(matrix: Array) -> Array:
    """Of a symmetric matrix without negative eigenvalues the one whose square it is."""
    values, vectors = np.linalg.eigh(matrix)
    root: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def class_entropy_score(probabilities: Array) -> float:
    """exp of the mean over examples of KL(p(class | picture) ‖ p(class)), from 1 to the number of classes (Salimans et
    al., Improved Techniques for Training GANs, 2016, section 4, where the network is an Inception).

    High where the network is sure of each picture and every class occurs. probabilities: (N, classes).
    """
    p = probabilities.astype(np.float64)
    tiny = np.finfo(np.float64).tiny
    divergence = (p * (np.log(np.maximum(p, tiny)) - np.log(np.maximum(p.mean(axis=0), tiny)))).sum(axis=1)
    return float(np.exp(divergence.mean()))


def surer_than(probabilities: Array, share: float) -> float:
    """The share of examples of which the network gives some class more than this probability."""
    return float((probabilities.max(axis=1) > share).mean())


def taken_for(probabilities: Array, classes: Array | int) -> float:
    """The share of examples of which this class, or each its own (N,), is the likeliest."""
    return float((probabilities.argmax(axis=1) == classes).mean())


def smallest_class(probabilities: Array) -> float:
    """The share of the class that the fewest examples are taken for: 0 where a generator has given one up."""
    counts = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    return float(counts.min() / len(probabilities))
