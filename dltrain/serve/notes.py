"""Tags and a note for a run: the only thing that the page writes, in a file of its own beside the run's others."""

from typing import Any

from dltrain.errors import RunError
from dltrain.run.files import to_json, write_atomically
from dltrain.run.reader import read_json
from dltrain.run.rundir import RunDir

MOST_TAGS, LONGEST_TAG, LONGEST_NOTE = 20, 40, 10_000


def read_notes(run: RunDir) -> dict[str, Any]:
    """{"tags", "note"}; empty where there are none. Raises RunError where the file is damaged."""
    if not run.notes.exists():
        return {"tags": [], "note": ""}
    found = read_json(run.notes)
    try:
        return checked(found)
    except ValueError as error:
        raise RunError(f"{run.notes}: cannot be read ({error})") from None


def write_notes(run: RunDir, content: Any) -> dict[str, Any]:
    """Keeps and returns them. Raises ValueError for what are no notes, OSError."""
    notes = checked(content)
    write_atomically(run.notes, to_json(notes))
    return notes


def checked(content: Any) -> dict[str, Any]:
    """Raises ValueError, which says what is wrong."""
    if not isinstance(content, dict):
        raise ValueError("notes are an object with tags and a note")
    tags, note = content.get("tags", []), content.get("note", "")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or not isinstance(note, str):
        raise ValueError("tags are a list of texts, the note is a text")
    tags = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        raise ValueError(f"at most {MOST_TAGS} tags of {LONGEST_TAG} characters each")
    if len(note) > LONGEST_NOTE:
        raise ValueError(f"a note has at most {LONGEST_NOTE:,} characters")
    *tags, note = (text.encode(errors="replace").decode() for text in (*tags, note))
    return {"tags": tags, "note": note}
