"""RunSpec -> the data set and the model that it describes. Shapes are settled here; no weights, no files of data."""

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from dltrain.data import MissingPath, Source, vocabulary_of
from dltrain.data.values import by_name
from dltrain.errors import ConfigError, SettingError
from dltrain.evaluation.sentences import told_by
from dltrain.metrics.figures import is_figure
from dltrain.metrics.settings import CLASSES, LABELS, NUMBERS, TEXTS
from dltrain.nn import Loss, Network, Networks, Term
from dltrain.spec.data import build_source, build_sources
from dltrain.spec.figures import build_figures
from dltrain.spec.game import Game, build_game
from dltrain.spec.network import build_network
from dltrain.spec.paths import join
from dltrain.spec.runspec import RunSpec

P = ParamSpec("P")
T = TypeVar("T")
OF_TEXTS = ("prompt", "length", "texts")  # settings of `write`
MOST_NAMED = 5  # classes in a message


def placed(build: Callable[Concatenate[RunSpec, P], T]) -> Callable[Concatenate[RunSpec, P], T]:
    """What is built from a spec says where a setting was written that does not suit the data, or leads nowhere."""

    @wraps(build)
    def with_place(spec: RunSpec, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return build(spec, *args, **kwargs)
        except SettingError as error:
            raise ConfigError(f"{spec.position(error.setting)}  {error}") from None
        except MissingPath as error:
            settings = [(join(c.path, key), value) for c in spec.sources.values() for key, value in c.settings.items()]
            for path, value in settings:
                if error.path and isinstance(value, str) and Path(value) == error.path:
                    error.args = (f"{spec.position(path)}  {path}: {error}",)
                    error.path, error.exit_code = None, 2
            raise

    return with_place


@placed
def build_model(spec: RunSpec, source: Source | None = None) -> Network | Networks:
    """The model for the config's data set, or for `model.input` where there is none; or all networks. source: the data
    set, if it has been built.

    Raises ConfigError, with the position of the layer, where one does not fit or the last one does not suit the data.
    """
    if spec.networks is not None:
        return build_networks(spec, build_sources(spec)).model
    source = source or build_source(spec)
    _check_write(spec, source)
    _check_choice(spec)
    _check_mixup(spec, source)
    assert spec.model
    words = vocabulary_of(source.values) if source else None
    model = build_network(spec, source.input_shape if source else spec.model.input or (), words)
    if source:
        _check_outputs(spec, source, model.out_shape)
    return model


def _check_write(spec: RunSpec, source: Source | None) -> None:
    if spec.write and not (source and source.values[0].is_text and source.values[1].is_text):
        what = "is for a network that tells what follows every position of a text: data: {type: text, targets: every}"
        raise ConfigError(f"{spec.position('write')}  write: {what}")


def _check_choice(spec: RunSpec) -> None:
    """That not two ways to choose words are named."""
    for key in ("temperature", "top_k") if spec.write and spec.write.beam else ():
        if getattr(spec.write, key):
            what = "a beam search leaves nothing to chance; keep `beam` or this"
            raise ConfigError(f"{spec.position(f'write.{key}')}  write.{key}: {what}")


def _check_report(spec: RunSpec, terms: tuple[Term, ...]) -> None:
    """That the figures that a lone update is judged by are some that it has."""
    known = ["loss", *(["accuracy"] if any(term.loss.classification for term in terms) else [])]
    known += ["perplexity"] if terms and terms[0].is_sequence else []
    for key, names in (("best", (spec.metrics.best,)), ("report", spec.metrics.report)):
        for name in names:
            if name not in known and not is_figure(name):
                what = f"an update has no {name}; this one has {', '.join(known)}"
                raise ConfigError(f"{spec.position(f'metrics.{key}')}  metrics.{key}: {what}")


def _check_told(spec: RunSpec, game: Game) -> None:
    if not spec.write:
        return
    if told_by(term for terms, _ in game.updates.values() for term in terms) is None:
        how = "one takes NAME.before, and what it gives has NAME as the target of a cross_entropy"
        what = f"is for networks that tell a sentence word by word: {how}"
        raise ConfigError(f"{spec.position('write')}  write: {what}")
    for field in fields(spec.write):
        if field.name in OF_TEXTS and getattr(spec.write, field.name) != field.default:
            path, what = f"write.{field.name}", "is for texts that go on; a sentence begins and ends by itself"
            raise ConfigError(f"{spec.position(path)}  {path}: {what}")


def _check_mixup(spec: RunSpec, source: Source | None) -> None:
    """Blends of numbers are numbers; blends of tokens are none."""
    assert spec.model
    if source is None or not spec.sources[""].common["mixup"]:
        return
    if source.values[0].is_text or any(layer.type == "embedding" for layer in spec.model.layers[:1]):
        what = "blends inputs, but those are tokens, which cannot be blended; leave it out"
        raise ConfigError(f"{spec.position('data.mixup')}  data.mixup: {what}")


def build_networks(spec: RunSpec, sources: dict[str, Source]) -> Game:
    """The networks, and what is made of them. sources: the data sets by name. Raises ConfigError."""
    if not sources:
        raise ConfigError(f"{spec.position('')}  data: is missing; what several networks take comes from there")
    for component in spec.sources.values():
        if component.common["mixup"]:
            path, what = join(component.path, "mixup"), "is for one network alone, with `model` and `loss`"
            raise ConfigError(f"{spec.position(path)}  {path}: {what}")
    given = {key: value for name, source in sources.items() for key, value in by_name(source.values, name).items()}
    game = build_game(spec, given.values())
    build_figures(spec, game.values)  # for what is wrong with them
    _check_told(spec, game)
    _check_choice(spec)
    if len(game.updates) == 1:
        _check_report(spec, *(terms for terms, _ in game.updates.values()))
    if len(game.updates) > 1:
        several, decides = "updates that play against each other have no such figure", is_figure(spec.metrics.best)
        if spec.metrics.report:
            raise ConfigError(f"{spec.position('metrics.report')}  metrics.report: {several}")
        if spec.metrics.best != "loss" and not decides:
            what = f"{several}; one of metrics.pictures may decide, such as frechet/fake"
            raise ConfigError(f"{spec.position('metrics.best')}  metrics.best: {what}")
        if spec.train.early_stopping is not None and not decides:
            what = "in a game no loss says that it has become better; name a figure of pictures in metrics.best"
            raise ConfigError(f"{spec.position('train.early_stopping')}  train.early_stopping: {what}")
    return game


def _check_outputs(spec: RunSpec, source: Source, shape: tuple[int, ...]) -> None:
    assert spec.loss and spec.model
    loss, data, last = spec.loss.type, spec.sources[""].type, spec.model.layers[-1]
    built: Loss | None = spec.loss.build()
    kind = "numbers to predict" if source.classes is None else "labels" if source.multilabel else "classes"
    what = f"{data} has {source.outputs} {kind}"
    assert built
    if built.of_pictures:
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is for pictures, a part of what `updates` minimise")
    suits = built.classification == (source.classes is not None)
    if source.multilabel:
        built = built.for_labels()
    if built is None or not suits:
        wants = "numbers to predict" if not spec.loss.build().classification else "classes"
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is for {wants}, but {what}{_remedy(spec, source)}")
    is_text = source.values[1].is_text
    figures = NUMBERS if source.classes is None else LABELS if source.multilabel else CLASSES
    known = ("loss", *(TEXTS if is_text else figures))
    for name in (spec.metrics.best, *spec.metrics.report):
        if name not in known and not is_figure(name):  # of pictures, see `build_figures`
            path = "metrics.best" if name == spec.metrics.best else "metrics.report"
            raise ConfigError(f"{spec.position(path)}  {path}: {data} has no {name}; it has {', '.join(known)}")
    if (positive := spec.metrics.positive) is not None and (
        not built.classification or len(source.classes or ()) != 2 or positive not in (source.classes or ())
    ):
        has = f"the classes {', '.join((source.classes or ())[:MOST_NAMED])}" if built.classification else "no classes"
        where = spec.position("metrics.positive")
        raise ConfigError(f"{where}  metrics.positive: {positive!r} is none of two classes; {data} has {has}")
    outputs = built.outputs(source.outputs) if built.classification else source.outputs
    if outputs is None:
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is for two classes, but {what}; use cross_entropy")
    wanted = (*source.values[1].shape, outputs) if is_text else (outputs,)
    if is_text and loss != "cross_entropy":
        raise ConfigError(f"{spec.position('loss')}  loss: {loss} is not for texts; use cross_entropy")
    if shape != wanted:
        where = f"{spec.position(last.path)}  {last.path} ({last.common['name']})"
        must = f"it must give {wanted}{'' if outputs == source.outputs else f' with {loss}'}"
        if last.type == "dense" and len(shape) > len(wanted):
            must += "; a dense layer works at every position: put `- flatten` before the first one"
        raise ConfigError([f"{where}: the last layer gives {shape}, but {what}; {must}", *source.notes])


def _remedy(spec: RunSpec, source: Source) -> str:
    """What else to write where the loss does not suit the targets."""
    if source.multilabel:
        return "; use binary_cross_entropy"
    task = spec.sources[""].settings.get("task")
    if source.classes is not None:
        held = source.no_numbers if task == "auto" else ""
        return f": {held}" if held else "; use cross_entropy"
    if not spec.nodes.says("loss"):
        return "; cross_entropy is the default, `loss: mse` is for numbers"
    if task == "auto" and source.outputs == 1:
        return "; data.task: classification would take them otherwise"
    return "; use mse"
