"""Makes dltrain/data/files/faces.npz of what draw.mjs wrote: `pip install resvg-py`, then `python pack.py faces.jsonl`.

A face has at most 19 colours, so it is kept as a palette and the place of every pixel's colour in it. Part maps share
the places with the faces they belong to and have palettes of their own.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

SIZE = 16
MOST_COLOURS = 19
TARGET = Path(__file__).resolve().parents[2] / "dltrain" / "data" / "files" / "faces.npz"
COLOURS = {"skin": "skinColor", "hair": "hairColor", "shirt": "clothingColor", "eyes": "eyesColor"}
KINDS = {"hair_length": "hair", "mood": "mouth", "lenses": "glasses"}  # such as short19, happy05, dark02
OPTIONAL = {"glasses": "glasses", "hat": "hat", "beard": "beard", "earrings": "accessories"}
FACES = ("all", "bare", "with_glasses", "painted")


def pixels(svg: str) -> NDArray[np.uint8]:
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))))
    white = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, drawn.convert("RGBA")).convert("RGB"))


def attributes(extra: dict[str, str]) -> dict[str, str]:
    found = {name: extra[key] for name, key in COLOURS.items()}
    found |= {name: extra.get(key, "none").rstrip("0123456789") for name, key in KINDS.items()}
    found |= {name: "yes" if key in extra else "no" for name, key in OPTIONAL.items()}
    return found | {"hat_colour": extra["hatColor"] if "hat" in extra else "none"}


def indexed(faces: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(places (N, 256), palettes (N, MOST_COLOURS, 3)), colours in the order in which they are met."""
    places = np.zeros((len(faces), SIZE * SIZE), np.uint8)
    palettes = np.zeros((len(faces), MOST_COLOURS, 3), np.uint8)
    for i, face in enumerate(faces.reshape(len(faces), -1, 3)):
        colours, first, inverse = np.unique(face, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        palettes[i, : len(order)] = colours[order]
        places[i] = np.argsort(order)[inverse.ravel()]
    return places, palettes


def main(lines: Path) -> None:
    drawn: dict[str, list[tuple[NDArray[np.uint8], dict[str, str]]]] = {}
    for line in lines.open():
        face = json.loads(line)
        drawn.setdefault(face["set"], []).append((pixels(face["svg"]), attributes(face["extra"])))
    arrays: dict[str, NDArray[Any]] = {}
    known = [found for name in FACES for _, found in drawn[name]]
    for key in known[0]:
        names = sorted({found[key] for found in known})
        arrays[f"{key}_names"] = np.array(names)
        arrays[key] = np.array([names.index(found[key]) for found in known], np.uint8)
    arrays["places"], palettes = indexed(np.stack([face for name in FACES for face, _ in drawn[name]]))
    parts = np.stack([face for face, _ in drawn["parts"]])
    places = arrays["places"][-len(parts) :]
    part_palettes = np.zeros((len(parts), MOST_COLOURS, 3), np.uint8)
    np.put_along_axis(part_palettes, places[..., None].astype(int), parts.reshape(len(parts), -1, 3), axis=1)
    again = np.take_along_axis(part_palettes, places[..., None].astype(int), axis=1)
    assert np.array_equal(again.ravel(), parts.ravel())  # a place of a face is one of its part map, too
    for name, wanted in (("palettes", palettes), ("part_palettes", part_palettes)):
        arrays["colours"], numbers = np.unique(wanted.reshape(-1, 3), axis=0, return_inverse=True)
        arrays[f"{name}_colours"], arrays[name] = arrays.pop("colours"), numbers.reshape(wanted.shape[:2]).astype("<u2")
    np.savez_compressed(TARGET, **arrays)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes, {len(known):,} faces")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
