"""A net of ours in JAX, with our weights. Its layouts are ours: channels last, kernels (*kernel, in, out)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from nets import Twin

from dltrain.nn import Conv, Dense, Dropout, Flatten, Layer
from dltrain.random import permutation

Array = Any
ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "sigmoid": jax.nn.sigmoid}


def apply(layer: Layer, kind: str, weights: dict[str, Array], x: Array, key: Array) -> Array:
    """What the layer gives. Raises KeyError for one that has no counterpart here."""
    if isinstance(layer, Conv | Dense):
        weight = weights[f"{layer.name}.weight"]
        if isinstance(layer, Conv):
            window = layer.window
            assert window
            x = lax.conv_general_dilated(
                x, weight, window.stride, window.padding, None, window.dilation, ("NHWC", "HWIO", "NHWC"), layer.groups
            )
        else:
            x = x @ weight
        if layer.bias is not None:
            x = x + weights[f"{layer.name}.bias"]
        return x if layer.activation is None else ACTIVATIONS[layer.activation](x)
    if isinstance(layer, Dropout):
        kept = jax.random.bernoulli(key, 1 - layer.rate, x.shape)
        return jnp.where(kept, x / (1 - layer.rate), 0) if layer.rate else x
    if isinstance(layer, Flatten):
        return x.reshape(len(x), -1)
    window = layer.window
    assert window and all(pads == (0, 0) for pads in window.padding), "pooling with padding"
    start, combine, scale = {
        "max_pool": (-jnp.inf, lax.max, 1.0),
        "average_pool": (0.0, lax.add, 1 / np.prod(window.kernel)),
    }[kind]
    return lax.reduce_window(x, start, combine, (1, *window.kernel, 1), (1, *window.stride, 1), "VALID") * scale


def train(twin: Twin) -> Iterator[float]:
    """Train for ever with everything in one compiled function, and yield the loss of every step."""
    split, learned, settings = twin.prepared.splits["train"], twin.prepared.preprocessing, twin.adam
    mean, std = (jnp.asarray(v, jnp.float32) for v in (learned.mean, learned.std))
    lr, beta1, beta2, epsilon = (settings[key] for key in ("lr", "beta1", "beta2", "epsilon"))

    def loss(weights: dict[str, Array], x: Array, y: Array, key: Array) -> Array:
        for i, (layer, kind) in enumerate(zip(twin.model.layers, twin.kinds, strict=True)):
            x = apply(layer, kind, weights, x, jax.random.fold_in(key, i))
        return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(weights: Any, m: Any, v: Any, t: Array, images: Array, targets: Array, batch: Array) -> Any:
        x = (images[batch].astype(jnp.float32) - mean) / std
        value, g = jax.value_and_grad(loss)(weights, x, targets[batch], jax.random.fold_in(jax.random.key(0), t))
        m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, m, g)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g * g, v, g)
        rate, root = lr / (1 - beta1**t), 1 / jnp.sqrt(1 - beta2**t)
        weights = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) * root + epsilon), weights, m, v)
        return weights, m, v, value

    weights = {name: jnp.array(array) for name, array in twin.model.weights().items()}
    m, v = ({name: jnp.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    images, targets = jnp.asarray(split.inputs), jnp.asarray(split.targets)
    random = np.random.default_rng(0)
    order = permutation(len(split), twin.spec.seed, "order", epoch=1)  # ours, to compare losses
    t = 0
    while True:
        for first in range(0, len(order), twin.batch_size):
            t += 1
            batch = order[first : first + twin.batch_size]
            weights, m, v, value = step(weights, m, v, float(t), images, targets, batch)
            yield float(value)
        order = random.permutation(len(split))
