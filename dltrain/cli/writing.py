"""`dltrain predict` where the answer is a text: one that goes on from a prompt, or a sentence about each input."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.cli import console

if TYPE_CHECKING:
    from dltrain.spec import Restored


def write(
    prompt: str,
    settings: dict[str, Any],
    seed: int,
    name: str | None,
    checkpoint: str,
    runs_dir: Path,
    device: str | None,
    json: bool,
) -> None:
    """Say what a network of texts writes after the prompt."""
    from dltrain.evaluation.writing import write_texts
    from dltrain.job.settings import WriteSettings
    from dltrain.run.find import find_run
    from dltrain.spec import restore

    run = find_run(name, runs_dir)
    restored = restore(run, checkpoint, device)
    asked = WriteSettings(prompt=prompt, **settings)
    (text,) = write_texts(restored.network, restored.checkpoint.preprocessing, asked, restored.device, seed)
    console.info(f"run {run.path}: {checkpoint} checkpoint")
    if json:
        console.result_json({"run": str(run.path), "prompt": prompt, "text": text, "seed": seed})
    else:
        console.result_text(f"{prompt}{text}")


def teller(restored: "Restored", settings: dict[str, Any], seed: int) -> Callable[[Any, int], list[str]] | None:
    """What tells a sentence about each of some inputs that are ready, given the position of the first one among all;
    None of networks that tell none. settings: of how words are chosen, in place of the config's.

    Raises DataError where the sentences are about more than inputs, or settings are for what the networks do not do.
    """
    from dataclasses import replace

    from dltrain.data.tokens import sentence_words
    from dltrain.errors import DataError
    from dltrain.evaluation.sentences import GREEDY, Speaker, told_by

    told = told_by(term for update in restored.updates for term in update.terms)
    flags = [f"--{key.replace('_', '-')}" for key in settings]
    if told is None:
        if flags:
            raise DataError(f"{flags[0]} is for networks that write, which this run has none of")
        return None
    if "length" in settings:
        raise DataError("--length is for --prompt; a sentence ends by itself")
    learned, device = restored.checkpoint.preprocessing, restored.device
    first, *_ = learned.named
    if [value.name for value in told.about] != [first]:
        names = " and ".join(value.name for value in told.about) or "nothing that is given"
        raise DataError(f"the sentences are about {names}; predict takes inputs, {first}, alone")
    if settings.keys() & {"temperature", "top_k"}:
        settings = {"beam": None} | settings  # a beam that the config says leaves nothing to chance
    speaker = Speaker(told, device, seed, replace(restored.spec.write or GREEDY, **settings))
    known, size = learned.named[told.sentence.name].classes or (), restored.spec.train.batch_size

    def tell(x: Any, start: int) -> list[str]:
        found = []
        for at in range(0, len(x), size):
            here = device.asarray(x[at : at + size])
            found += [" ".join(sentence_words(row, known)) for row in speaker.say({first: here}, start + at, len(here))]
        return found

    return tell
