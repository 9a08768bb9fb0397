"""Keyed randomness: every random number is a function of what it is for, never of what was drawn before.

numbers = Philox4x64-10(key = (seed, hash of purpose and layer), counter = (block, step, epoch, 0))
(Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011). There is no generator state
to save, and neither threads nor shards nor an interruption can change what is drawn.
"""

from functools import cache
from hashlib import sha256

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

BLOCK = 4  # words that one counter value yields
LANES = 4  # 16-bit numbers in a word


@cache
def label(purpose: str, layer: str) -> int:
    """The second half of the key."""
    return int.from_bytes(sha256(f"{purpose}/{layer}".encode()).digest()[:8], "little")


def _philox(seed: int, purpose: str, layer: str, epoch: int, step: int, block: int) -> Philox:
    return Philox(
        key=np.array([seed, label(purpose, layer)], np.uint64),
        counter=np.array([block, step, epoch, 0], np.uint64),
    )


def words(
    seed: int, purpose: str, layer: str = "", *, epoch: int = 0, step: int = 0, start: int = 0, count: int
) -> NDArray[np.uint64]:
    """`count` raw 64-bit words beginning at block `start` (four words each). Shape (count,)."""
    return _philox(seed, purpose, layer, epoch, step, start).random_raw(count)


def example_words(
    seed: int, purpose: str, layer: str, *, epoch: int, step: int, first: int, examples: int, words_each: int
) -> NDArray[np.uint64]:
    """Words for examples first … first + examples of a batch. Shape (examples, words_each).

    `first` is the position in the whole batch and each example takes whole blocks, so an example
    gets the same words in whichever shard it is computed.
    """
    blocks = -(-words_each // BLOCK)
    drawn = words(seed, purpose, layer, epoch=epoch, step=step, start=first * blocks, count=examples * blocks * BLOCK)
    return drawn.reshape(examples, blocks * BLOCK)[:, :words_each]


def permutation(n: int, seed: int, purpose: str, *, epoch: int = 0, step: int = 0) -> NDArray[np.intp]:
    """An order of n things: a stable argsort of n words."""
    return np.argsort(words(seed, purpose, epoch=epoch, step=step, count=n), kind="stable")


def generator(seed: int, purpose: str, layer: str = "", *, epoch: int = 0, step: int = 0) -> Generator:
    """For numbers that are drawn on the CPU: initial weights."""
    return Generator(_philox(seed, purpose, layer, epoch, step, 0))
