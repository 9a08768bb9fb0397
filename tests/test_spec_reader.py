"""What may stand in a config file as text: each refusal is one line with file, line and column."""

import pytest

from dltrain.errors import ConfigError
from dltrain.spec import loads
from dltrain.spec.nodes import Mapping, Place, Problems, Scalar, Sequence
from dltrain.spec.reader import MAX_BYTES, read_config

MODEL = "model: {input: [4], layers: [dense: 2]}\n"

REFUSED = {
    "empty": ("", "c.yaml:1:1  the file is empty; a config needs at least `model`"),
    "only comments": ("# nothing\n\n", "c.yaml:1:1  the file is empty; a config needs at least `model`"),
    "a list": ("- a\n- b\n", "c.yaml:1:1  expected lines such as `seed: 0`, got the list [a, b]"),
    "a word": ("\nhello\n", "c.yaml:2:1  expected lines such as `seed: 0`, got 'hello'"),
    "tab before a value": (MODEL + "seed:\t3\n", "c.yaml:2:6  a tab character; indent with spaces"),
    "tab as indentation": (MODEL + "train:\n\tepochs: 3\n", "c.yaml:3:1  a tab character; indent with spaces"),
    "anchor": (MODEL + "seed: &x 3\n", "c.yaml:2:7  the anchor &x is not supported; write the values out"),
    "alias": (MODEL + "seed: *x\n", "c.yaml:2:7  the alias *x is not supported; write the value out"),
    "tag": (MODEL + "seed: !!int 3\n", "c.yaml:2:7  the tag tag:yaml.org,2002:int is not supported; remove it"),
    "own tag": (MODEL + "seed: !x 3\n", "c.yaml:2:7  the tag !x is not supported; remove it"),
    "merge key": (
        MODEL + "train:\n  <<: {epochs: 2}\n", "c.yaml:3:3  the merge key << is not supported; write the keys out"
    ),
    "duplicate key": (MODEL + "seed: 1\nseed: 2\n", "c.yaml:3:1  duplicate key 'seed', first in line 2"),
    "duplicate deep": (
        MODEL + "train: {epochs: 1, epochs: 1}\n", "c.yaml:2:20  duplicate key 'epochs', first in line 2"
    ),
    "two documents": (MODEL + "---\nseed: 1\n", "c.yaml:2:1  a second document starts here; one file is one config"),
    "list as key": (MODEL + "[a]: 1\n", "c.yaml:2:1  a key must be a word, got the list [a]"),
    "mapping as key": (MODEL + "? {a: 1}\n: 2\n", "c.yaml:2:3  a key must be a word, got the keys a"),
    "unclosed": (
        MODEL + "train: {epochs: 1\n", "c.yaml:3:1  not readable as YAML: expected ',' or '}', but got '<stream end>'"
    ),
    "two colons": (MODEL + "seed: a: b\n", "c.yaml:2:8  not readable as YAML: mapping values are not allowed here"),
    "control character": (MODEL + "seed: \x07\n", "c.yaml:2:7  the character '\\x07' may not stand in YAML"),
    "half a character": (MODEL + 'seed: "\\ud800"\n', "c.yaml:2:7  holds half a character (\\ud800 to \\udfff)"),
    "a NUL": (MODEL + 'seed: "\\0"\n', "c.yaml:2:7  holds the character \\0, which no path or name can have"),
    "impossible escape": (MODEL + 'seed: "\\UFFFFFFFF"\n', "c.yaml:1:1  not readable as YAML"),
    "too deep": ("a: " + "[" * 101, "c.yaml:1:104  nested more than 100 levels deep"),
    "far too deep": ("[" * 100_000, "c.yaml:1:101  nested more than 100 levels deep"),
    "deep blocks": ("- " * 5000 + "a", "c.yaml:1:201  nested more than 100 levels deep"),
    "too long": ("#" * (MAX_BYTES + 1), "c.yaml  is longer than 2 MB; no config needs that much"),
}  # fmt: skip


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, "c.yaml")
    assert caught.value.problems == [message]


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(b"seed: 1\nname: caf\xe9\n", "c.yaml", Problems())
    assert caught.value.problems == ["c.yaml:2:10  is not UTF-8 text; save the file as UTF-8"]
    with pytest.raises(ConfigError):
        loads("seed: \ud800")


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert loads("\ufeffseed: 5\n" + MODEL).seed == 5


def test_the_longest_file_is_read() -> None:
    text = MODEL + "#" * (MAX_BYTES - len(MODEL))
    assert loads(text).text == text


def test_aliases_cannot_grow() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(ConfigError, match="anchor"):
        loads("\n".join(lines))


def test_nodes_keep_text_and_positions() -> None:
    root = read_config(b'a: 010\nb:\n  - "3"\n  - no\n', "f", Problems())
    assert root == Mapping(
        Place("f", 1, 1),
        {
            "a": Scalar(Place("f", 1, 4), "010"),
            "b": Sequence(Place("f", 3, 3), [Scalar(Place("f", 3, 5), "3", True), Scalar(Place("f", 4, 5), "no")]),
        },
        {"a": Place("f", 1, 1), "b": Place("f", 2, 1)},
    )
    assert str(root.entries["b"].place) == "f:3:3"
