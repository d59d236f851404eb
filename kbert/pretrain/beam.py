"""Streaming mode of `kbert prepare` as Apache Beam pipelines, on a cluster of whatever kind.

Two pipelines: one worker reads the text and others cut it into the parts of a store, then each
worker makes shards of it. Two, as the number of shards hangs on the ids that were found. Text and
work lie on a file system that all workers and this machine see. Parts and shards take their names
when they are whole and hang on their numbers alone, so a runner may try one again or twice at a
time; the bytes are those of `kbert.pretrain.stream` by itself.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kbert.data import tfds
from kbert.errors import BadInput, nearest
from kbert.files import Unwritable, read_json, write_json
from kbert.pretrain import building, stream
from kbert.pretrain.corpus import blocks
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.pretrain.store import part_name
from kbert.pretrain.workers import Unfinished

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    raise BadInput(
        "runner: needs Apache Beam; run, in an environment of its own: "
        "pip install 'kbert-tf[beam,data]'"
    ) from None

# Beam's own names. Its DirectRunner may fetch a program first; this one runs here, as it is
RUNNERS = {
    "direct": "FnApiRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
    "portable": "PortableRunner",
}
# what workers leave beside their work: how much there was to read, and what was in the way
_READ, _WRONG = "read.json", "wrong.json"


class Beam:
    """A runner, as `kbert.pretrain.stream.prepare` takes it.

    Args:
        name: one of `RUNNERS`.
        options: what Beam calls pipeline options, as `--job_endpoint=localhost:8099`.

    Raises:
        BadInput: another name.
    """

    def __init__(self, name: str, options: Sequence[str] = ()) -> None:
        if name not in RUNNERS:
            raise BadInput(f"runner: unknown {name!r}{nearest(name, RUNNERS)}")
        self.name, self.options = name, list(options)

    def cut(
        self, folder: pathlib.Path, files: list[str], options: CorpusOptions, part: int
    ) -> dict[str, int]:
        """Writes the parts that are missing; returns what was counted in the text.

        Raises:
            BadInput: as `kbert.pretrain.building.build`; standard input, which no worker has.
            Unfinished: a worker or the pipeline failed; what is done stays.
        """
        if "-" in files:
            raise BadInput("runner: found standard input, expected files that all workers see")
        folder = folder.absolute()
        # workers have working directories of their own
        seen = [path if path.startswith(tfds.PREFIX) else os.path.abspath(path) for path in files]
        self._run(
            folder,
            lambda pipeline: (
                pipeline
                | "Text" >> beam.Create([None])
                | "Read" >> beam.ParDo(_Read(folder, seen, options, part))
                | "Spread" >> beam.Reshuffle()
                | "Cut" >> beam.ParDo(_Cut(folder))
            ),
        )
        found = read_json(folder / _READ)
        _check([folder / part_name(number) for number in range(found["blocks"])])
        (folder / _READ).unlink()
        return found["counts"]

    def write(self, partial: pathlib.Path, missing: list[int], *arguments: Any) -> None:
        """Writes shards by their numbers; arguments as `kbert.pretrain.stream.work_of` has them.

        Raises:
            Unfinished: a worker or the pipeline failed; what is done stays.
        """
        partial = partial.absolute()
        self._run(
            partial,
            lambda pipeline: (
                pipeline
                | "Shards" >> beam.Create(missing)
                | "Spread" >> beam.Reshuffle()
                | "Write" >> beam.ParDo(_Write(partial, arguments))
            ),
        )
        _check([partial / stream.shard_file(number) for number in missing])

    def _run(self, folder: pathlib.Path, built: Callable[[Any], Any]) -> None:
        """Runs a pipeline to its end; says what was wrong as its workers said it."""
        wrong, failed = folder / _WRONG, None
        wrong.unlink(missing_ok=True)
        try:
            options = PipelineOptions(self.options)
            with beam.Pipeline(runner=RUNNERS[self.name], options=options) as pipeline:
                built(pipeline)
        except Exception as error:
            failed = error
        if wrong.is_file():
            said = read_json(wrong)
            wrong.unlink()
            raise (Unfinished if said["unfinished"] else BadInput)(said["message"])
        if failed is not None:
            # Beam quotes the traces of workers, whose end says what it was
            last = " ".join(str(failed).split())[-300:]
            raise Unfinished(
                f"runner {self.name}: the pipeline failed: {type(failed).__name__}: {last}; "
                "the same command again goes on"
            )


def _check(paths: list[pathlib.Path]) -> None:
    """Whether what workers wrote is to be seen here.

    Raises:
        Unfinished: it is not.
    """
    for path in paths:
        if not path.is_file():
            raise Unfinished(
                f"{path}: a worker wrote it, but it is not there; expected a file system that all "
                "workers and this machine see"
            )


@contextlib.contextmanager
def _told(folder: pathlib.Path) -> Iterator[None]:
    """Leaves what is wrong for the machine that waits, which gets no errors of workers as such."""
    try:
        yield
    except BadInput as error:
        unfinished = isinstance(error, (Unwritable, Unfinished))
        write_json(folder / _WRONG, {"message": str(error), "unfinished": unfinished})


class _Read(beam.DoFn):
    """None -> (number, block) of the text's blocks whose parts are missing."""

    def __init__(
        self, folder: pathlib.Path, files: list[str], options: CorpusOptions, part: int
    ) -> None:
        self.folder, self.files, self.options, self.part = folder, files, options, part

    def process(self, element: None) -> Iterator[tuple[int, list[list[str]]]]:
        counts: dict[str, int] = {}
        count = 0
        with _told(self.folder):
            for block in blocks(self.files, self.options, self.part, counts):
                if not (self.folder / part_name(count)).is_file():
                    yield count, block
                count += 1
            write_json(self.folder / _READ, {"blocks": count, "counts": counts})


class _Cut(beam.DoFn):
    """(number, block) -> its part, as a file."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def setup(self) -> None:
        self.state = building.opened(str(self.folder), None)

    def process(self, element: tuple[int, list[list[str]]]) -> None:
        with _told(self.folder):
            building.cut_block(self.state, element)


class _Write(beam.DoFn):
    """The number of a shard -> the shard, as a file."""

    def __init__(self, partial: pathlib.Path, arguments: tuple[Any, ...]) -> None:
        self.partial, self.arguments = partial, arguments

    def setup(self) -> None:
        self.work = stream.work_of(str(self.partial), *self.arguments)

    def process(self, element: int) -> None:
        with _told(self.partial):
            if not (self.partial / stream.shard_file(element)).is_file():
                stream.write_shard(self.work, element)
