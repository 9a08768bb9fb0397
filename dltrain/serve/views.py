"""What the page asks for, as JSON."""

from collections.abc import Callable
from typing import Any

from dltrain.errors import ConfigError, RunError
from dltrain.report.differing import differing
from dltrain.serve.detail import detail, sample
from dltrain.serve.logs import Logs
from dltrain.serve.notes import write_notes
from dltrain.serve.thinned import Thinned
from dltrain.serve.watch import Listed, Watch
from dltrain.spec import look

Row = dict[str, Any]
Query = dict[str, list[str]]
MOST_CURVES = 64  # runs in one answer
MOST_DIGITS = 12


class Refused(Exception):
    """An answer that is none: an HTTP status and one line of why."""

    def __init__(self, code: int, why: str):
        super().__init__(why)
        self.code = code


class Views:
    """tables: address -> what answers it."""

    def __init__(self, watch: Watch):
        self._watch = watch
        self._configs: dict[str, tuple[int, Any]] = {}
        self.tables: dict[str, Callable[[Query], Any]] = {
            "runs": self.runs,
            "series": self.series,
            "layers": self.layers,
            "run": self.run,
            "samples": self.samples,
            "differing": self.differing,
        }

    def runs(self, query: Query) -> Row:
        """The list, and the version from which on events tell what changes in it."""
        with self._watch.changed:
            self._watch.sweep()
            rows = [listed.row for listed in self._watch.runs.values()]
            return {"folder": str(self._watch.folder), "version": self._watch.version, "runs": rows}

    def series(self, query: Query) -> Row:
        """The curves of runs: all of them, or from where the page has them on. have: of each run
        `generation.stride.buckets.stride.buckets` of its steps and epochs."""
        have = query.get("have", [])
        found: list[Row] = []
        for number, key in enumerate(query.get("on", [])[:MOST_CURVES]):
            with self._watch.changed:
                try:
                    logs = self._watch.logs(key)
                except KeyError:
                    continue
                except RunError as error:
                    found.append({"id": key, "problem": str(error)})
                    continue
                known = _whole_numbers(have[number] if number < len(have) else "")
                same = known[0] == logs.generation
                found.append(
                    {
                        "id": key,
                        "generation": logs.generation,
                        "per_epoch": logs.first_epoch_ends,
                        "steps": _since(logs.steps, known[1:3] if same else [0, 0]),
                        "epochs": _since(logs.epochs, known[3:5] if same else [0, 0]),
                        "problem": logs.problem,
                    }
                )
        return {"series": found}

    def layers(self, query: Query) -> Row:
        """The layers of a run over its epochs."""
        with self._watch.changed:
            logs = self._logs(query)
            layers = [logs.kinds[name] | {"name": name} | table.since(0) for name, table in logs.layers.items()]
            return {"id": query["id"][0], "layers": layers}

    def run(self, query: Query) -> Row:
        """See `detail`; {"problem"} where its files are not as a training writes them."""
        with self._watch.changed:
            listed, logs = self.listed(query), self._logs(query)
            try:
                return detail(listed.run, listed.status or {"status": "unreadable"}, logs) | {"id": listed.id}
            except RunError as error:
                return {"id": listed.id, "problem": str(error)}

    def differing(self, query: Query) -> Row:
        """In what the configs of runs differ: {"settings": {id: {key: value}}}, damaged ones left out."""
        configs = {}
        for key in query.get("on", [])[:MOST_CURVES]:
            if (listed := self._watch.runs.get(key)) is not None and (config := self._config(listed)) is not None:
                configs[key] = config
        found = differing(list(configs.values())) if len(configs) > 1 else [{} for _ in configs]
        return {"settings": dict(zip(configs, found, strict=True))}

    def samples(self, query: Query) -> Row:
        """The steps after which a run has made pictures."""
        return {"steps": self.listed(query).run.sampled_steps()}

    def sample(self, query: Query) -> bytes:
        step = _whole_numbers(query.get("step", [""])[0])[0]
        content = sample(self.listed(query).run, step)
        if content is None:
            raise Refused(404, "there is no picture of this step")
        return content

    def write_notes(self, query: Query, content: Any) -> Row:
        listed = self.listed(query)
        notes = write_notes(listed.run, content)
        self._watch.sweep()
        return notes

    def listed(self, query: Query) -> Listed:
        listed = self._watch.runs.get(query.get("id", [""])[0])
        if listed is None:
            raise Refused(404, "there is no such run")
        return listed

    def _logs(self, query: Query) -> Logs:
        try:
            return self._watch.logs(self.listed(query).id)
        except RunError as error:
            raise Refused(409, str(error)) from None

    def _config(self, listed: Listed) -> Any:
        try:
            stamp = listed.run.config.stat().st_mtime_ns
            if self._configs.get(listed.id, (0, None))[0] != stamp:
                self._configs[listed.id] = (stamp, look(listed.run.config))
            return self._configs[listed.id][1]
        except (OSError, ConfigError):
            return None


def _since(table: Thinned, known: list[int]) -> Row:
    """From the last bucket that the page has, which may have grown; all where the buckets are others."""
    stride, buckets = known
    return table.since(max(0, min(buckets, table.buckets) - 1) if stride == table.stride else 0)


def _whole_numbers(text: str) -> list[int]:
    """Of `1.2.3.4.5`; -1 for what is none."""
    words = [*text.split(".", 5), *[""] * 5][:5]
    return [int(word) if word.isdecimal() and len(word) <= MOST_DIGITS else -1 for word in words]
