"""What a config can name: closed tables that explain themselves."""

import pytest

from dltrain.registry import REQUIRED, Registry
from dltrain.spec.schema import REGISTRIES


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_entry_says_what_it_is(registry: Registry):
    assert list(registry)
    for name in registry:
        text = registry[name].__doc__ or ""
        made_up = text.startswith(f"{registry[name].__name__}(")  # dataclass writes the signature where nothing stands
        assert text.strip() and not made_up, f"{registry.kind} {name} has no docstring"


def entry(*, size: int, rate: float = 0.5) -> None:
    """An entry."""


def common(*, name: str | None = None) -> None:
    """What every entry takes."""


def test_the_signature_is_the_schema():
    registry = Registry("thing", common)
    registry.register("first")(entry)
    assert "first" in registry and "second" not in registry and list(registry) == ["first"]
    assert registry["first"] is entry
    settings = registry.settings("first")
    assert list(settings) == ["size", "rate", "name"]
    assert settings["size"].required and settings["size"].default is REQUIRED and settings["size"].annotation is int
    assert not settings["rate"].required and settings["rate"].default == 0.5
    assert registry.main_setting("first") == "size"


def test_a_name_is_registered_once():
    registry = Registry("thing")
    registry.register("first")(entry)
    with pytest.raises(ValueError, match="thing 'first' is registered twice"):
        registry.register("first")(entry)


def test_an_unknown_name_is_answered_with_the_known_ones():
    registry = Registry("thing")
    registry.register("first")(entry)
    with pytest.raises(KeyError, match=r"unknown thing 'frist'; did you mean 'first'\? Known: first"):
        registry["frist"]
    with pytest.raises(KeyError, match=r"unknown thing 'zzz'\. Known: first"):
        registry["zzz"]
