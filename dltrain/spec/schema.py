"""The schema: pydantic models made from signatures, and what they read turned into plain data."""

from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar, ForwardRef, Literal, Union, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from dltrain.data import AUGMENTATIONS, SOURCES
from dltrain.metrics.figures import FIGURES
from dltrain.nn import INITIALIZERS, LAYERS, LOSSES, NORMS, TERMS, VALUES
from dltrain.optim import OPTIMIZERS, SCHEDULES
from dltrain.registry import Registry, Setting, settings_of
from dltrain.spec.complaint import explain
from dltrain.spec.nodes import Mapping, Problems, plain
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec
from dltrain.spec.types import by_name, reading_scalars, registry_of, without

REGISTRIES = (
    LAYERS, NORMS, INITIALIZERS, LOSSES, TERMS, VALUES, OPTIMIZERS, SCHEDULES, SOURCES, AUGMENTATIONS, FIGURES,
)  # fmt: skip

ITSELF = "itself"


class Section(BaseModel):
    """Anything with keys. made_of: the dataclass it turns into, or the registry of a component."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    made_of: ClassVar[Any]


@lru_cache(maxsize=2)
def config_model(entries: tuple[tuple[str, ...], ...], several: bool) -> type[Section]:
    """The model of a whole config; `entries` are the names in the registries, which plugins may add to.
    several: whether its data sets have names."""
    made: dict[int, Any] = {}

    def structure(annotation: Any) -> Any:
        registry = registry_of(annotation)
        made_of = registry or annotation
        if id(made_of) not in made:
            made[id(made_of)] = ForwardRef(ITSELF)  # containers hold layers, and so containers
            made[id(made_of)] = union(registry) if registry else section(annotation, of_kind(settings_of(annotation)))
        return made[id(made_of)]

    def of_kind(settings: dict[str, Setting]) -> dict[str, Setting]:
        found = dict(settings)
        for key, setting in settings.items():
            if named := by_name(setting.annotation):
                kind = named if several else without(setting.annotation, named)
                found[key] = replace(setting, annotation=kind)
        return found

    def union(registry: Registry) -> Any:
        models = [section(registry, registry.settings(name), name) for name in registry]
        every: Any = Annotated[Union[tuple(models)], Field(discriminator="type")]  # noqa: UP007
        for model in models:
            model.model_rebuild(_types_namespace={ITSELF: every})
        return every

    def section(made_of: Any, settings: dict[str, Setting], kind: str | None = None) -> type[Section]:
        fields: dict[str, Any] = {} if kind is None else {"type": (Literal[kind], ...)}
        for name, setting in settings.items():
            default = ... if setting.required else setting.default
            fields[name] = (reading_scalars(setting.annotation, structure), default)
        model = create_model(kind or made_of.__name__, __base__=Section, **fields)
        model.made_of = made_of
        return model

    return structure(RunSpec)  # type: ignore[no-any-return]


def validate(root: Mapping, problems: Problems) -> dict[str, Any]:
    """The values for RunSpec from a tree in the long form; {} where `problems` were found."""
    try:
        several = get_origin(root.settings["data"].annotation) is dict
        config = config_model(tuple(map(tuple, REGISTRIES)), several).model_validate(plain(root))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        for found in sorted(errors, key=lambda found: found["type"] == "missing"):  # after the slip that is why
            problems.add(*explain(root, list(found["loc"])))
        return {}
    return {key: realise(getattr(config, key), key) for key in type(config).model_fields}


def realise(value: Any, path: str) -> Any:
    """pydantic's objects -> Components and the settings dataclasses."""
    if isinstance(value, tuple):
        return tuple(realise(item, join(path, index)) for index, item in enumerate(value))
    if isinstance(value, dict):
        return {name: realise(item, join(path, name)) for name, item in value.items()}
    if not isinstance(value, Section):
        return value
    settings = {key: realise(getattr(value, key), join(path, key)) for key in type(value).model_fields}
    if isinstance(value.made_of, Registry):
        return Component(value.made_of, settings.pop("type"), settings, path)
    return value.made_of(**settings)
