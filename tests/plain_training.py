"""A whole training of dense layers in plain numpy: what the logs of such a run must say, without shards or engine."""

from math import cos, pi, sqrt
from typing import Any

import numpy as np

from dltrain.job.job import Job

Array = np.ndarray
Row = dict[str, Any]

# name -> (function, derivative in terms of the output)
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda y: (y > 0).astype(float)),
    "tanh": (np.tanh, lambda y: 1 - y**2),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda y: y * (1 - y)),
    None: (lambda z: z, np.ones_like),
}
SATURATED = {"tanh": lambda y: np.abs(y) > 0.95, "sigmoid": lambda y: np.abs(y - 0.5) > 0.475}


def plain_training(job: Job) -> tuple[list[Row], list[Row], dict[str, Array]]:
    """(rows of metrics.jsonl, rows of layers.jsonl, final weights) of a job of dense layers with cross-entropy, plain
    gradient descent and a cosine schedule; times are left out."""
    job.model.initialise(job.seed, job.device)
    names = [layer.name for layer in job.model.layers]
    kinds = [layer.activation for layer in job.model.layers]
    w = {name: np.array(array) for name, array in job.model.weights().items()}
    l1, l2, settings = job.update.penalty.l1, job.update.penalty.l2, job.train
    loader = job.loaders["train"]
    x_all, t_all = loader.examples(np.arange(loader.size))
    per_epoch = -(-loader.size // settings.batch_size)
    total = settings.epochs * per_epoch
    metrics: list[Row] = []
    layers: list[Row] = []
    step = 0

    def forward(x: Array) -> list[Array]:
        outputs = [x]
        for name, kind in zip(names, kinds, strict=True):
            outputs.append(ACTIVATIONS[kind][0](outputs[-1] @ w[f"{name}.weight"] + w[f"{name}.bias"]))
        return outputs

    def scores(output: Array, t: Array) -> tuple[Array, Array]:
        """For each example its loss, and whether it is right."""
        log_p = output - np.log(np.exp(output).sum(1, keepdims=True))
        return -log_p[np.arange(len(t)), t], output.argmax(1) == t

    for epoch in range(1, settings.epochs + 1):
        order = loader.order(job.seed, epoch)
        seen: dict[str, list[Array]] = {name: [] for name in names}
        norms: dict[str, list[float]] = {name: [] for name in names}
        ratios: dict[str, list[float]] = {name: [] for name in names}
        sums = {"loss": 0.0, "data_loss": 0.0, "penalty": 0.0, "accuracy": 0.0}
        for first in range(0, loader.size, settings.batch_size):
            step += 1
            batch = order[first : first + settings.batch_size]
            x, t = x_all[batch], t_all[batch]
            outputs = forward(x)
            losses, right = scores(outputs[-1], t)
            weights = [array for name, array in w.items() if name.endswith("weight")]
            penalty = sum(l1 * np.abs(a).sum() + l2 * (a**2).sum() for a in weights)
            p = np.exp(outputs[-1]) / np.exp(outputs[-1]).sum(1, keepdims=True)
            g = (p - np.eye(p.shape[1])[t]) / len(t)
            gradient: dict[str, Array] = {}
            for name, kind, x_in, y in list(zip(names, kinds, outputs, outputs[1:], strict=False))[::-1]:
                g = g * ACTIVATIONS[kind][1](y)
                weight = w[f"{name}.weight"]
                gradient[f"{name}.weight"] = x_in.T @ g + l1 * np.sign(weight) + 2 * l2 * weight
                gradient[f"{name}.bias"] = g.sum(0)
                g = g @ weight.T
                seen[name].append(y)
                norms[name].append(sqrt(sum((gradient[f"{name}.{part}"] ** 2).sum() for part in ("weight", "bias"))))
            norm = sqrt(sum((a**2).sum() for a in gradient.values()))
            lr = job.optimizer.lr * (1 + cos(pi * (step - 1) / total)) / 2
            scale = min(1.0, (settings.clip_norm or np.inf) / norm)
            for name, a in gradient.items():
                change = lr * scale * a
                if name.endswith("weight") and first // settings.batch_size % job.diagnostics.update_every == 0:
                    ratios[name.split(".")[0]].append(np.linalg.norm(change) / np.linalg.norm(w[name]))
                w[name] = w[name] - change
            data_loss = losses.mean()
            row = {"loss": data_loss + penalty, "data_loss": data_loss, "penalty": penalty, "accuracy": right.mean()}
            sums = {key: sums[key] + row[key] * len(batch) for key in sums}
            metrics.append({"event": "step", "epoch": epoch, "step": step, **row, "lr": lr, "gradient_norm": norm})
        row = {"event": "epoch", "epoch": epoch, "step": step}
        row["train"] = {key: value / loader.size for key, value in sums.items()}
        if "validation" in job.loaders:
            x, t = job.loaders["validation"].examples(np.arange(job.loaders["validation"].size))
            losses, right = scores(forward(x)[-1], t)
            row["validation"] = {"loss": losses.mean(), "accuracy": right.mean()}
        metrics.append(row)
        for name, kind in zip(names, kinds, strict=True):
            y = np.concatenate(seen[name])
            dead = int((y == 0).all(0).sum()) if kind == "relu" else None
            layers.append(
                {
                    "epoch": epoch,
                    "layer": name,
                    "type": "dense",
                    "activation": kind,
                    "units": y.shape[1],
                    "dead_units": dead,
                    "dead_share": None if dead is None else dead / y.shape[1],
                    "gradient_norm": np.mean(norms[name]),
                    "weight_norm": np.linalg.norm(w[f"{name}.weight"]),
                    "update_ratio": np.mean(ratios[name]) if ratios[name] else None,
                    "activation_mean": y.mean(),
                    "activation_std": y.std(),
                    "saturated_share": SATURATED[kind](y).mean() if kind in SATURATED else None,
                }
            )
    return metrics, layers, w
