"""The two forms of a config: one network trained alone (`model`, `loss`), or `networks`, `values` and `updates`."""

import re
from copy import deepcopy

from dltrain.nn import VALUES
from dltrain.spec.nodes import DEFAULT, Mapping, Problems, Scalar, Sequence
from dltrain.spec.paths import join
from dltrain.spec.runspec import ALONE, TOGETHER

INHERITED = {"penalty": "penalty", "optimizer": "optimizer", "schedule": "schedule", "clip_norm": "train.clip_norm"}
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")


def is_together(root: Mapping) -> bool:
    """Whether a config has several networks, or is about to."""
    return any(root.holds(key) for key in TOGETHER) and not root.holds("model")


def check_form(root: Mapping, problems: Problems) -> None:
    """That it is one of the two, and whole; and that names are names."""
    if not any(root.says(key) and root.holds(key) for key in TOGETHER):
        return
    for key in ALONE:
        if root.says(key) and root.holds(key):
            what = f"a config has `{key}`, or else `networks`, `values` and `updates`; keep one of the two"
            problems.add(root.key_places[key], key, what)
    for key in ("networks", "updates"):
        if not root.holds(key):
            problems.add(root.place, "", f"{key!r} is missing; several networks need `networks` and `updates`")
    networks = root.entries.get("networks")
    for key in TOGETHER:
        named = root.entries.get(key)
        if not isinstance(named, Mapping):
            continue
        for name in named.entries:
            place, path = named.key_places[name], join(key, name)
            if not NAME.fullmatch(name):
                problems.add(place, path, f"the name {name!r} may hold letters, digits and _ only")
            elif key != "updates" and name in VALUES:
                problems.add(place, path, f"{name!r} is a kind of value already; call it something else")
            elif key == "values" and isinstance(networks, Mapping) and name in networks.entries:
                problems.add(place, path, f"{name!r} is a network already ({networks.key_places[name]})")


def complete_updates(root: Mapping, problems: Problems) -> None:
    """Give every update the networks that its name says, and the config's settings where it has none of its own."""
    updates = root.entries.get("updates")
    if not isinstance(updates, Mapping):
        return
    if not updates.entries:
        problems.add(updates.place, "updates", "there is none; what should be trained to make what small?")
    for name, update in updates.entries.items():
        if not isinstance(update, Mapping):
            continue
        if "networks" not in update.entries:
            place = updates.key_places[name]
            update.put("networks", place, Sequence(place, [Scalar(place, name)]))
        minimise = update.entries.get("minimise")
        if isinstance(minimise, Sequence) and not minimise.items:
            what = "the list is empty; an update has one loss at least"
            problems.add(minimise.place, f"updates.{name}.minimise", what)
        for key, path in INHERITED.items():
            section, _, own = path.rpartition(".")
            home = root.entries.get(section) if section else root
            if isinstance(home, Mapping) and own in home.entries:
                _inherit(update, key, home, own)
            elif key not in update.entries:
                update.put(key, DEFAULT, Scalar(DEFAULT, ""))


def _inherit(update: Mapping, key: str, home: Mapping, own: str) -> None:
    """What the config says where the update says nothing; `{lr: 1e-4}` alone changes that of the config's optimizer."""
    said, inherited = update.entries.get(key), deepcopy(home.entries[own])
    if said is None:
        update.put(key, home.key_places[own], inherited)
        return
    if not isinstance(said, Mapping) or said.registry or not isinstance(inherited, Mapping) or not inherited.registry:
        return
    if said.entries and said.entries.keys() <= inherited.settings.keys():
        for name, entry in said.entries.items():
            inherited.put(name, said.key_places[name], entry)
        update.put(key, update.key_places[key], inherited)
