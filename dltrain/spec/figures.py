"""What a config wants to see of pictures, `show` and `metrics.pictures`, checked against the values that there are."""

from collections.abc import Mapping

from dltrain.errors import ConfigError
from dltrain.evaluation.pictures import is_picture
from dltrain.job.judge import Judge
from dltrain.metrics.figures import Asked, Region, is_figure
from dltrain.metrics.pictures import WINDOW
from dltrain.nn import Given, Value
from dltrain.spec.nodes import allowed
from dltrain.spec.paths import join
from dltrain.spec.runspec import Component, RunSpec


def build_figures(
    spec: RunSpec, values: Mapping[str, Value], judges: Mapping[str, Judge] | None = None
) -> tuple[Asked, ...]:
    """The figures in the order of the config. values: all by name. judges: by the names of their runs, as far as they
    are known. Raises ConfigError with all that does not fit, in `show` as well."""
    return _Checked(spec, values, judges or {}).figures()


class _Checked:
    def __init__(self, spec: RunSpec, values: Mapping[str, Value], judges: Mapping[str, Judge]):
        self.spec, self.values, self.judges = spec, values, judges
        self.lines: list[str] = []

    def wrong(self, path: str, what: str) -> None:
        self.lines.append(f"{self.spec.position(path)}  {path}: {what}")

    def figures(self) -> tuple[Asked, ...]:
        for number, name in enumerate(self.spec.show.pictures):
            self.picture(f"show.pictures[{number}]", name)
        found: dict[str, Asked] = {}
        for component in self.spec.figures:
            asked = self.asked(component)
            if asked.name in found:
                self.wrong(component.path, f"two figures are called {asked.name!r}; give one of them a `name`")
            found[asked.name] = asked
        best = self.spec.metrics.best
        decide = [asked.key for asked in found.values() if asked.figure.better != "as real"]
        if is_figure(best) and best not in decide and not self.lines:
            what = f"metrics.pictures has no {best!r}"
            if best in [asked.key for asked in found.values()]:
                what = f"{best} should be that of real pictures, not less or more"
            add = "; add a figure of which less, or more, is better, such as `frechet`"
            self.wrong("metrics.best", what + (allowed(best, decide) if decide else add))
        if self.lines:
            raise ConfigError(self.lines)
        return tuple(found.values())

    def asked(self, component: Component) -> Asked:
        settings, path, kind = component.settings, component.path, component.type
        of = self.picture(join(path, "of"), settings["of"])
        to = self.picture(join(path, "to"), settings["to"]) if settings.get("to") else None
        if of and to and of.shape != to.shape:
            self.wrong(join(path, "to"), f"{to.name} has shape {to.shape}, but {of.name} has {of.shape}")
        if of and kind == "ssim" and min(of.shape[:2]) < WINDOW:
            self.wrong(join(path, "of"), f"ssim looks at windows of {WINDOW} x {WINDOW} pixels; {of.name} is smaller")
        if of and settings.get("where"):
            self.region(join(path, "where"), settings["where"], of)
        wanted = self.values.get(settings.get("as") or "")
        if wanted and not (isinstance(wanted, Given) and wanted.classes):
            self.wrong(join(path, "as"), f"{wanted.name} is not the class of an example")
        if of and (judge := self.judges.get(settings.get("in") or "")):
            self.judged(component, of, judge)
        return Asked(
            settings["name"] or f"{kind}/{settings['of']}",
            kind,
            settings["of"],
            settings["examples"],
            component.build(),
        )

    def judged(self, component: Component, of: Value, judge: Judge) -> None:
        settings, classes = component.settings, judge.learned.classes or ()
        wanted, where = settings.get("as"), join(component.path, "in")
        if at := settings.get("at"):
            if problem := judge.problem_with_layers(of.shape, at):
                self.wrong(join(component.path, "at"), problem)
        elif problem := judge.problem_with(of.shape):
            self.wrong(where, problem)
        elif wanted and wanted not in self.values and wanted not in classes:
            self.wrong(join(component.path, "as"), f"{judge.run} tells no {wanted!r}{allowed(wanted, classes)}")
        elif component.type in ("class_entropy", "recognised") and not wanted and not judge.loss.classification:
            self.wrong(where, f"{judge.run} tells labels, of which several may be right; say which one with `as`")

    def picture(self, path: str, name: str) -> Value | None:
        """None where it is no picture."""
        if name not in self.values:
            self.wrong(path, f"there is no value {name!r}{allowed(name, self.values)}")
        elif not is_picture(self.values[name].shape):
            self.wrong(path, f"{name} has shape {self.values[name].shape}; a picture is (height, width, 1 or 3)")
        else:
            return self.values[name]
        return None

    def region(self, path: str, region: Region, of: Value) -> None:
        value = self.picture(join(path, "value"), region.value)
        like = self.picture(join(path, "like"), region.like) if region.like else None
        if (region.colour is None) == (region.like is None):
            self.wrong(path, "takes `colour: [RED, GREEN, BLUE]` or `like: VALUE`, one of them")
        elif value and value.shape[:2] != of.shape[:2]:
            self.wrong(join(path, "value"), f"{value.name} has shape {value.shape}, but {of.name} {of.shape}")
        elif value and region.colour and value.shape[2] != 3:
            self.wrong(join(path, "colour"), f"{value.name} is grey")
        elif value and like and like.shape != value.shape:
            self.wrong(join(path, "like"), f"{like.name} has shape {like.shape}, but {value.name} {value.shape}")
