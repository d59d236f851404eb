"""A case as data, and what is needed to bring it about: a folder, makers, command lines."""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any

GOOD = "sentence\ttopic\nThe tap drips\twater\nA deep pothole\troads\nMay I renew it\tlibrary\n"


@dataclasses.dataclass(frozen=True)
class Place:
    """A folder with good data, and models to be copied.

    Attributes:
        folder: holds `train.tsv` and `dev.tsv`.
        models: "start" and "trained" -> directory.
    """

    folder: pathlib.Path
    models: Mapping[str, pathlib.Path]

    def values(self) -> dict[str, Any]:
        """What the placeholders of command lines and messages stand for."""
        size = (self.models["start"] / "model.safetensors").stat().st_size
        found = {"p": self.folder, **self.models, "size": size, "more": size + 400}
        copy = self.folder / "model" / "model.safetensors"
        if copy.is_file():
            raw = copy.read_bytes()
            found["now"] = len(raw)
            # what `offsets_beyond_the_file` makes of it
            found["beyond"] = 8 + int.from_bytes(raw[:8], "little") + (1 << 40) + 128
        return found


Maker = Callable[[Place], None]
Command = Callable[[Place], list[str]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing that is refused.

    Attributes:
        name: of the test.
        did: what is wrong, a sentence for the page.
        message: the last line, without "kbert: error: "; {p} is the folder, {start} and {trained}
            are the models, the other placeholders are sizes: see `Place.values`. "…" at the end
            stands for the words of another library, which change with its version.
        remedy: what to do, a sentence for the page.
        command: the command line.
        make: what is done before.
        code: what the program exits with.
        leaves: what may be there afterwards that was not there before.
        needs: a package without which it does not come about.
        environment: variables that are set.
    """

    name: str
    did: str
    message: str
    remedy: str
    command: Command
    make: tuple[Maker, ...] = ()
    code: int = 1
    leaves: tuple[str, ...] = ()
    needs: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Running:
    """A line that a run ends with, or says on its way; brought about by the test that is named.

    Attributes:
        held_by: file of the tests that expect it.
        words: parts of the message as they stand in that file.
    """

    message: str
    did: str
    remedy: str
    held_by: str
    words: tuple[str, ...]
    code: int | None


# command lines, right but for what is given; None leaves a flag out


def _line(name: str, usual: Mapping[str, Any], given: Mapping[str, Any]) -> Command:
    def line(place: Place) -> list[str]:
        values = place.values()
        flags = {k: v for k, v in {**usual, **given}.items() if v is not None}
        return [name, *(f"--{k}={str(v).format(**values)}" for k, v in flags.items())]

    return line


def finetune(**given: Any) -> Command:
    usual = {
        "model": "{start}",
        "train": "{p}/train.tsv",
        "dev": "{p}/dev.tsv",
        "text": "sentence",
        "label": "topic",
        "max_length": 16,
        "output": "{p}/run",
    }
    return _line("finetune", usual, given)


def evaluate(**given: Any) -> Command:
    usual = {"model": "{trained}", "data": "{p}/dev.tsv", "output": "{p}/metrics.json"}
    return _line("evaluate", usual, given)


def predict(**given: Any) -> Command:
    usual = {"model": "{trained}", "input": "{p}/dev.tsv", "output": "{p}/answers.jsonl"}
    return _line("predict", usual, given)


def tokenize(**given: Any) -> Command:
    usual = {
        "model": "{start}",
        "input": "{p}/dev.tsv",
        "text": "sentence",
        "output": "{p}/tokens.jsonl",
    }
    return _line("tokenize", usual, given)


def vocabulary(**given: Any) -> Command:
    return _line("vocabulary", {"input": "{p}/text.txt", "output": "{p}/vocabulary"}, given)


def pretrain(**given: Any) -> Command:
    """From raw text with the vocabulary of the models; `input` takes the place of the text."""
    usual = {
        "corpus": "{p}/text.txt",
        "vocabulary": "{start}",
        "shape": "1x32",
        "steps": 2,
        "batch_size": 2,
        "max_seq_length": 16,
        "max_predictions_per_seq": 3,
        "output": "{p}/run",
    }
    return _line("pretrain", usual, given)


def export(**given: Any) -> Command:
    return _line("export", {"model": "{trained}", "target": "{p}/base"}, given)


def other(*arguments: str) -> Command:
    return lambda place: [argument.format(**place.values()) for argument in arguments]


# makers


def file(name: str, content: str | bytes) -> Maker:
    def make(place: Place) -> None:
        path = place.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def rows(*values: Any, name: str = "train.jsonl") -> Maker:
    """A file of JSON lines."""
    return file(name, "".join(json.dumps(value) + "\n" for value in values))


def folder(name: str) -> Maker:
    return lambda place: (place.folder / name).mkdir()


def model(which: str = "start", **changes: str | bytes | None) -> Maker:
    """A copy of a model as {p}/model; files are replaced, None leaves one out.

    `_` stands for the dot in the names of files.
    """

    def make(place: Place) -> None:
        folder = place.folder / "model"
        shutil.copytree(place.models[which], folder)
        for key, content in changes.items():
            path = folder / key.replace("_", ".")
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def edited(name: str, change: Callable[[bytes], bytes], which: str = "start") -> Maker:
    """A copy of a model as {p}/model in which the bytes of one file are changed."""

    def make(place: Place) -> None:
        shutil.copytree(place.models[which], place.folder / "model")
        path = place.folder / "model" / name
        path.write_bytes(change(path.read_bytes()))

    return make


def values(name: str, which: str = "start", **changes: Any) -> Maker:
    """The same for the values of a JSON file; `LEFT_OUT` leaves a key out."""

    def change(raw: bytes) -> bytes:
        found = {**json.loads(raw), **changes}
        return json.dumps({k: v for k, v in found.items() if v is not LEFT_OUT}).encode()

    return edited(name, change, which)


LEFT_OUT = object()


def config(**changes: Any) -> Maker:
    return values("config.json", **changes)


def weights(change: Callable[[bytes], bytes]) -> Maker:
    return edited("model.safetensors", change)


def header(**entries: Mapping[str, Any]) -> Maker:
    """Changes what the header of the weights says of tensors; `__` stands for the dot."""

    def change(raw: bytes) -> bytes:
        length = int.from_bytes(raw[:8], "little")
        found = json.loads(raw[8 : 8 + length])
        for name, values in entries.items():
            found[name.replace("__", ".")].update(values)
        text = json.dumps(found).encode()
        return len(text).to_bytes(8, "little") + text + raw[8 + length :]

    return weights(change)


def tensors(change: Callable[[dict[str, Any]], Any]) -> Maker:
    """Changes the tensors themselves, and writes a file that is right."""

    def make(place: Place) -> None:
        from safetensors.numpy import load_file, save_file

        shutil.copytree(place.models["start"], place.folder / "model")
        path = place.folder / "model" / "model.safetensors"
        found = load_file(path)
        change(found)
        save_file(found, path, metadata={"format": "pt"})

    return make


def run_of_kbert(**flags: Any) -> Maker:
    """Makes the output directory look as a run with these flags left it."""

    def make(place: Place) -> None:
        from kbert.train.recipe import Recipe

        given = dict(argument[2:].split("=", 1) for argument in finetune()(place)[1:])
        recipe = Recipe.of(**{**given, "max_length": 16, "text": ("sentence",), **flags})
        (place.folder / "run").mkdir()
        (place.folder / "run" / "flags.txt").write_text(recipe.flagfile())

    return make
