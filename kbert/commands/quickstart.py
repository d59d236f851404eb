"""See the whole way on a small data set that ships with kbert.

kbert quickstart [--dir=DIR] [--model=M] [--files_only]

Fine-tunes, evaluates, exports, serves on loopback and asks the served endpoint. Needs no
network. Without --model a small encoder is started from random weights. Each step prints the
command that does the same; data, models and export stay in DIR. The last line of standard output
states the accuracy and the baseline that always answers the most frequent label. With
--files_only it writes the data and the encoder, and stops there.
"""

from __future__ import annotations

import collections
import json
import pathlib
import shutil
import urllib.request
from typing import TYPE_CHECKING

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput
from kbert.files import whole_directory

if TYPE_CHECKING:
    from kbert.train.recipe import Recipe

ASSETS = pathlib.Path(__file__).resolve().parent.parent / "assets" / "quickstart"

DATA = ("train.tsv", "dev.tsv", "README.md")
START = (
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.txt",
)

# Written for this command: in neither file of the data set
QUESTIONS = (
    "Nobody has picked up our recycling for two weeks.",
    "The tap water has tasted of chlorine since Monday.",
    "May I renew the two novels I borrowed?",
)

# What a small encoder needs that has seen no text before; a trained one needs less
# so few rows teach more in batches of mixed lengths
FROM_SCRATCH = {
    "learning_rate": 5e-4,
    "epochs": 12,
    "max_length": 48,
    "group_by_length": False,
}
FROM_MODEL = {"learning_rate": 5e-5, "epochs": 3, "max_length": 48}


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("dir", "quickstart", "Directory to write to.", flag_values=values)
    flags.DEFINE_string(
        "model", "", "Model directory to start from, or its name on the Hub.", flag_values=values
    )
    flags.DEFINE_bool(
        "files_only", False, "Write the data and the encoder, then stop.", flag_values=values
    )


def run(values: flags.FlagValues) -> int:
    if values.files_only:
        write_files(pathlib.Path(values.dir))
    else:
        print(quickstart(pathlib.Path(values.dir), values.model))
    return 0


def quickstart(folder: pathlib.Path, model: str = "") -> str:
    """Runs all steps; returns the closing line.

    Raises:
        BadInput: the directory holds something else, or the result is no better than the
            baseline.
    """
    from kbert.checkpoints import hub
    from kbert.checkpoints.checkpoint import open_checkpoint
    from kbert.commands import evaluate, finetune
    from kbert.data.table import read_table
    from kbert.train.recipe import Recipe

    train, dev = folder / "data" / "train.tsv", folder / "data" / "dev.tsv"
    recipe = Recipe.of(
        model=hub.pin(model) if model else str(folder / "start"),
        train=str(train),
        dev=str(dev),
        output=str(folder / "run"),
        **(FROM_MODEL if model else FROM_SCRATCH),
    )
    check_folder(folder)
    finetune.check_output(folder / "run", recipe)
    if model:
        open_checkpoint(recipe.model.model)  # before anything is written
    write_data(folder / "data")
    _flags.start(deterministic=recipe.run.deterministic)
    gold = read_table(dev).column("label")
    frequent, _ = collections.Counter(read_table(train).column("label")).most_common(1)[0]
    baseline = sum(label == frequent for label in gold) / len(gold)
    _flags.say(
        f"data: messages to a town's service desk, written for kbert ({folder}/data/README.md); "
        f"{len(set(gold))} departments; always answering {frequent!r} is right on "
        f"{baseline:.1%} of dev"
    )
    if not model:
        random_start(folder / "start")
        _flags.say(f"model: a small encoder of random weights, {folder / 'start'}")

    _step(1, "fine-tune", _finetune_line(recipe))
    finetune.finetune(recipe)
    _step(2, "evaluate", f"kbert evaluate --model={folder}/run/model --data={dev}")
    metrics = evaluate.evaluate(f"{folder}/run/model", str(dev))
    print(json.dumps(metrics), flush=True)
    _step(3, "export", f"kbert export --model={folder}/run/model --target={folder}/export")
    from kbert.loading import load
    from kbert.savedmodel.export import export

    print(export(load(folder / "run" / "model"), folder / "export"), flush=True)
    _step(4, "serve", f"kbert serve --model_name=desk --model_base_path={folder.resolve()}/export")
    ask(folder / "export")
    accuracy = metrics["accuracy"]
    if accuracy <= baseline:
        raise BadInput(f"accuracy {accuracy:.1%} on dev does not beat the majority {baseline:.1%}")
    return (
        f"accuracy {accuracy:.1%} on {len(gold)} held-out messages; "
        f"majority baseline {baseline:.1%}"
    )


def write_files(folder: pathlib.Path) -> None:
    """The data and the encoder of random weights. Raises BadInput as `check_folder` does."""
    check_folder(folder)
    write_data(folder / "data")
    random_start(folder / "start")


def write_data(folder: pathlib.Path) -> None:
    """The data set that ships with kbert."""
    with whole_directory(folder) as place:
        for name in DATA:
            shutil.copyfile(ASSETS / name, place / name)


def check_folder(folder: pathlib.Path) -> None:
    """`data` and `start` are written anew each time; they must be the quickstart's own.

    Raises:
        BadInput: one of them holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--dir={folder}: is a file, expected a directory")
    for name, own in (("data", DATA), ("start", START)):
        place = folder / name
        others = sorted({p.name for p in place.iterdir()} - {*own}) if place.is_dir() else []
        if others:
            raise BadInput(
                f"--dir={folder}: {place} holds {others[0]}, which is no file of the quickstart; "
                "give a new directory"
            )


def random_start(folder: pathlib.Path) -> None:
    """A model directory of a small BERT with random weights and the shipped vocabulary."""
    from kbert import registry
    from kbert.checkpoints import bundle
    from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
    from kbert.encoder import Encoder

    tokenizer = registry.get("tokenizer", "wordpiece").from_directory(ASSETS)
    config = EncoderConfig(
        family="bert",
        hidden_size=128,
        num_hidden_layers=2,
        intermediate_size=512,
        embedding=EmbeddingConfig(tokenizer.vocab_size, max_position_embeddings=128),
        attention=AttentionConfig(num_attention_heads=4),
        # wider than BERT's 0.02, which a network this narrow starts too slowly from; and more
        # dropout than its 0.1, as the messages are few
        initializer_range=0.05,
        dropout=DropoutConfig(hidden=0.3, attention=0.3),
    )
    bundle.write(folder, Encoder(config, seed=0), tokenizer)


def ask(base: pathlib.Path) -> None:
    """Serves an export on loopback, asks it the questions over REST, prints the answers."""
    from kbert.serving.server import running_server

    with running_server(str(base), "desk") as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/desk:predict"
        body = json.dumps({"instances": list(QUESTIONS)})
        _step(5, "ask", f"curl -d '{body}' {url}")
        request = urllib.request.Request(url, data=body.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
    for question, row in zip(QUESTIONS, rows, strict=True):
        print(f"{question}\n  -> {row['label']} ({max(row['probabilities']):.0%})", flush=True)


def _step(number: int, title: str, command: str) -> None:
    _flags.say(f"\n{number}. {title}\n   $ {command}")


def _finetune_line(recipe: Recipe) -> str:
    from kbert.train.recipe import Recipe as Default

    usual = set(Default().flagfile().splitlines())
    changed = [line for line in recipe.flagfile().splitlines() if line not in usual]
    return " ".join(["kbert finetune", *changed])
