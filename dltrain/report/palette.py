"""The colours of all pages, light and dark: the one place where any is named. A test proves every pair readable."""

Theme = dict[str, str]

# paper: the page; panel: boxes on it; ink, muted: text; rule: lines between things. first, second, third: lines of a
# chart; good, warn, bad: judgements; d0 … d7: layers from the first to the last.
LIGHT: Theme = {
    "paper": "#fdfdfb", "panel": "#f4f4f0", "ink": "#1d1f24", "muted": "#5c606a", "rule": "#dcdcd6",
    "faint": "#a9c0d8", "first": "#245a92", "second": "#b2500d", "third": "#5c606a", "good": "#1f7146",
    "warn": "#8a5800", "bad": "#b3261e", "d0": "#0b7380", "d1": "#1a6ba3", "d2": "#3d5bc0",
    "d3": "#6549bd", "d4": "#8a3caa", "d5": "#a73289", "d6": "#b92c62", "d7": "#b93a2f",
}  # fmt: skip
DARK: Theme = {
    "paper": "#15171b", "panel": "#1e2126", "ink": "#e9e7e2", "muted": "#a5a9b2", "rule": "#34383f",
    "faint": "#3d5876", "first": "#82b4ea", "second": "#f1a566", "third": "#a5a9b2", "good": "#7ccf9f",
    "warn": "#e3b456", "bad": "#ff9086", "d0": "#5fc8d3", "d1": "#6fb7ee", "d2": "#93a8ff",
    "d3": "#b59dff", "d4": "#d593f2", "d5": "#ef8fd0", "d6": "#fb93ae", "d7": "#ff9c86",
}  # fmt: skip
DEPTHS = 8
STEPS = 11  # of a scale from nothing (the panel) to all (the full colour)
SCALES = {"bad": "bad", "good": "first"}  # scale -> its full colour


def stylesheet_colours() -> str:
    """CSS that sets every colour as a variable: light, or dark where the reader's system is; light on paper."""
    return (
        f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    )


def cell_classes() -> str:
    """CSS of the classes that `step_class` gives to cells."""
    cells = [f"{name}{i}" for name in SCALES for i in range(STEPS)]
    return "".join(f"td.{cell}{{background:var(--{cell});color:var(--on-{cell})}}" for cell in cells)


def scale(theme: Theme, name: str) -> list[tuple[str, str]]:
    """(background, text) for each step from none to all; one of black and white is readable on any background."""
    full = theme[SCALES[name]]
    backgrounds = [_mix(theme["panel"], full, step / (STEPS - 1)) for step in range(STEPS)]
    return [(back, max("#000000", "#ffffff", key=lambda text: contrast(text, back))) for back in backgrounds]


def contrast(a: str, b: str) -> float:
    """WCAG 2.1 contrast ratio of two colours `#rrggbb`, 1 to 21."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def depth_class(index: int, count: int) -> str:
    """The colour of layer `index` of `count`: `d0` for the first, `d7` for the last."""
    return f"d{round(index * (DEPTHS - 1) / max(count - 1, 1))}"


def step_class(share: float, name: str) -> str:
    """The class of a table cell that shows a share from 0 to 1; what is below half a percent stays uncoloured."""
    step = 0 if share < 0.005 else max(1, round(min(share, 1.0) * (STEPS - 1)))
    return f"{name}{step}"


def colours(theme: Theme) -> Theme:
    """Every colour by name, those of the scales included: `bad3`, and `on-bad3` for the text on it."""
    steps = {name: scale(theme, name) for name in SCALES}
    backs = {f"{name}{i}": back for name, pairs in steps.items() for i, (back, _) in enumerate(pairs)}
    texts = {f"on-{name}{i}": text for name, pairs in steps.items() for i, (_, text) in enumerate(pairs)}
    return theme | backs | texts


def _variables(theme: Theme) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in colours(theme).items())


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _mix(a: str, b: str, share: float) -> str:
    mixed = (round(x + (y - x) * share) for x, y in zip(_channels(a), _channels(b), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _luminance(colour: str) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
