"""Keyed randomness: golden values, the cipher itself, and independence of shards and history."""

from hashlib import sha256

import numpy as np
import pytest

from dltrain.random import example_words, generator, permutation, words

ORDER = [0x89F5836B20C19616, 0x2690D426180968C5, 0x26E5C13AB5424D55, 0xF7234EE1E8BB2913, 0xA5C23BE399E7D5C5]
MASK = [0xB7499DCC6B9DA98C, 0x088B642F038EE547, 0xA22C4CD4684B4051, 0x0A26251C866362EE]


def test_golden_words():
    """These may never change: every run would."""
    assert words(0, "order", count=5).tolist() == ORDER
    assert words(12345, "dropout", "dropout2", epoch=3, step=17, start=5, count=4).tolist() == MASK
    assert words(0, "order", count=5).dtype == np.uint64
    assert permutation(10, 0, "order").tolist() == [1, 2, 0, 8, 4, 9, 5, 6, 7, 3]
    assert permutation(10, 0, "order", epoch=1).tolist() == [4, 9, 0, 2, 7, 1, 5, 6, 3, 8]


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> list[int]:
    """Philox4x64-10 as in its paper, in whole numbers."""
    k0, k1 = key
    c0, c1, c2, c3 = counter
    low = 2**64 - 1
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & low, (p0 >> 64) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & low, (k1 + 0xBB67AE8584CAA73B) & low
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(
    ("seed", "purpose", "layer", "epoch", "step", "start"),
    [(0, "order", "", 0, 0, 0), (7, "dropout", "dropout1", 2, 391, 1000), (2**63, "augment", "0", 99, 2**40, 2**33)],
)
def test_words_are_philox(seed: int, purpose: str, layer: str, epoch: int, step: int, start: int):
    """key = (seed, hash of purpose and layer), counter = (block, step, epoch, 0); numpy counts up before each block."""
    label = int.from_bytes(sha256(f"{purpose}/{layer}".encode()).digest()[:8], "little")
    drawn = words(seed, purpose, layer, epoch=epoch, step=step, start=start, count=10).tolist()
    blocks = [philox((seed, label), (start + i + 1, step, epoch, 0)) for i in range(3)]
    assert drawn == [word for block in blocks for word in block][:10]


def test_every_part_of_the_key_matters():
    base = {"seed": 1, "purpose": "a", "layer": "b", "epoch": 1, "step": 1, "start": 1}
    others = [{}, {"seed": 2}, {"purpose": "b"}, {"layer": "a"}, {"epoch": 2}, {"step": 2}, {"start": 9}]
    drawn = [tuple(words(**(base | other), count=4).tolist()) for other in others]  # type: ignore[arg-type]
    assert len(set(drawn)) == len(others)
    assert len({word for block in drawn for word in block}) == 4 * len(others)


def test_blocks_follow_each_other():
    assert words(3, "x", count=40)[12:].tolist() == words(3, "x", start=3, count=28).tolist()


@pytest.mark.parametrize("words_each", [1, 3, 4, 5, 8])
def test_an_example_has_its_words_in_every_shard(words_each: int):
    def drawn(first: int, examples: int) -> np.ndarray:
        return example_words(9, "dropout", "d", epoch=1, step=2, first=first, examples=examples, words_each=words_each)

    whole = drawn(0, 10)
    assert whole.shape == (10, words_each) and len(np.unique(whole)) == whole.size
    blocks = -(-words_each // 4)
    for i in range(10):
        alone = words(9, "dropout", "d", epoch=1, step=2, start=i * blocks, count=words_each)
        assert np.array_equal(whole[i], alone)
    for cut in (1, 4, 9):
        assert np.array_equal(np.concatenate([drawn(0, cut), drawn(cut, 10 - cut)]), whole)


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_a_permutation_holds_everything_once(n: int):
    orders = [permutation(n, seed, "order", epoch=epoch) for seed in (0, 1) for epoch in (0, 1, 2)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(n))
    if n > 100:
        assert len({tuple(order.tolist()) for order in orders}) == 6
        places = np.stack(orders)
        assert abs(np.corrcoef(places)[np.triu_indices(6, 1)]).max() < 0.15


def test_words_are_even():
    """Every bit is set half of the time, and the 16-bit lanes that masks compare are uniform."""
    drawn = words(0, "dropout", "d", count=20_000)
    bits = (drawn[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / 20_000**0.5
    counts = np.bincount(drawn.view(np.uint16) >> 8, minlength=256)
    assert abs(counts / 80_000 - 1 / 256).max() < 5 * (1 / 256 / 80_000) ** 0.5


def test_a_generator_starts_where_its_words_do():
    assert generator(4, "init", "w").bit_generator.random_raw(8).tolist() == words(4, "init", "w", count=8).tolist()
