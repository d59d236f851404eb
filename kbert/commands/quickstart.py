"""See the whole way on a small data set that ships with kbert.

kbert quickstart [--dir=DIR] [--model=M] [--seed=N] [--files_only]

Learns a vocabulary, pre-trains a small encoder on text, shows what that is worth by fine-tuning on
a few rows from it and from random weights, then fine-tunes on all rows, evaluates, exports, serves
on loopback and asks the served endpoint. Needs no network. With --model it begins with fine-tuning
that model. Each step prints the command that does the same; data, models and export stay in DIR.
The last line of standard output states the accuracy, that of the two on few rows, and the baseline
that always answers the most frequent label. With --files_only it writes the data and an encoder of
random weights, and stops there.
"""

from __future__ import annotations

import collections
import json
import pathlib
import shutil
import urllib.request
from typing import TYPE_CHECKING, Any

from absl import flags

from kbert.commands import _flags
from kbert.errors import BadInput
from kbert.files import whole_directory
from kbert.train.progress import say

if TYPE_CHECKING:
    from kbert.pretrain.recipe import PretrainRecipe
    from kbert.train.groups import Groups
    from kbert.train.recipe import Recipe

ASSETS = pathlib.Path(__file__).resolve().parent.parent / "assets" / "quickstart"

DATA = ("train.tsv", "dev.tsv", "text.txt", "README.md")
VOCABULARY = ("special_tokens_map.json", "tokenizer_config.json", "vocab.txt")
START = ("config.json", "model.safetensors", *VOCABULARY)

# Written for this command: in neither file of the data set
QUESTIONS = (
    "Nobody has picked up our recycling for two weeks.",
    "The tap water has tasted of chlorine since Monday.",
    "May I renew the two novels I borrowed?",
)

# of the vocabulary; the text has about 2,000 words
SIZE = 3000
# Short rows, many masks and a high rate: a network as small as this leaves the frequencies of
# words behind after some 600 steps
PRETRAINING = {
    "max_seq_length": "32",
    "masked_lm_prob": 0.25,
    "max_predictions_per_seq": "8",
    "batch_size": "64",
    "steps": "3000",
    "warmup_steps": "60",
    "learning_rate": "5e-3",
    "optimizer": "adamw",
    "dropout": 0.0,
    "workers": 1,
}
# What a small encoder needs of so few rows, which teach more in batches of mixed lengths; a large
# trained one needs less
SMALL = {
    "learning_rate": 1e-3,
    "epochs": 12,
    "max_length": 48,
    "group_by_length": False,
}
# of the encoder that is pre-trained
WIDTH = 64
# rows of which the worth of a pre-training is shown
FEW = 300
FROM_MODEL = {"learning_rate": 5e-5, "epochs": 3, "max_length": 48}


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("dir", "quickstart", "Directory to write to.", flag_values=values)
    flags.DEFINE_string(
        "model", "", "Model directory to start from, or its name on the Hub.", flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed of weights and of both trainings.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool(
        "files_only", False, "Write the data and the encoder, then stop.", flag_values=values
    )


def run(values: flags.FlagValues) -> int:
    if values.files_only:
        write_files(pathlib.Path(values.dir))
    else:
        print(quickstart(pathlib.Path(values.dir), values.model, values.seed))
    return 0


def quickstart(folder: pathlib.Path, model: str = "", seed: int = 0) -> str:
    """Runs all steps; returns the closing line.

    Raises:
        BadInput: the directory holds something else, or the result is no better than the
            baseline, or than from random weights.
    """
    from kbert.checkpoints import hub
    from kbert.checkpoints.checkpoint import open_checkpoint
    from kbert.commands import finetune
    from kbert.data.table import read_table
    from kbert.train.recipe import Recipe

    dev = folder / "data" / "dev.tsv"
    recipe = Recipe.of(
        model=hub.pin(model) if model else str(folder / "pretrain" / "model"),
        train=str(folder / "data" / "train.tsv"),
        dev=str(dev),
        output=str(folder / "run"),
        seed=seed,
        **(FROM_MODEL if model else SMALL),
    )
    first = None if model else pretraining(folder, seed)
    few = recipe.replace(max_examples=FEW, output=str(folder / "few"))
    random = few.replace(model=str(folder / "start"), output=str(folder / "random"))
    check_folder(folder)
    for its in (first, few, random, recipe) if first else (recipe,):
        finetune.check_output(pathlib.Path(its.run.output), its)  # type: ignore[union-attr]
    if model:
        open_checkpoint(recipe.model.model)  # before anything is written
    write_data(folder / "data")
    _flags.start(deterministic=recipe.run.deterministic)
    gold = read_table(dev).column("label")
    labels = read_table(recipe.data.train).column("label")
    frequent, _ = collections.Counter(labels).most_common(1)[0]
    baseline = sum(label == frequent for label in gold) / len(gold)
    say(
        f"data: messages to a town's service desk, written for kbert ({folder}/data/README.md); "
        f"{len(set(gold))} departments; always answering {frequent!r} is right on "
        f"{baseline:.1%} of dev"
    )
    steps = _Steps()
    gain = _from_text(steps, folder, first, few, random) if first else ""
    accuracy = _finetuned(steps, recipe, " on all messages" if first else "")
    if accuracy <= baseline:
        raise BadInput(f"accuracy {accuracy:.1%} on dev does not beat the majority {baseline:.1%}")
    steps.say("export", f"kbert export --model={folder}/run/model --target={folder}/export")
    from kbert.loading import load
    from kbert.savedmodel.export import export

    print(export(load(folder / "run" / "model"), folder / "export"), flush=True)
    base = folder.resolve() / "export"
    steps.say("serve", f"kbert serve --model_name=desk --model_base_path={base}")
    ask(steps, folder / "export")
    return (
        f"accuracy {accuracy:.1%} on {len(gold)} held-out messages; {gain}"
        f"majority baseline {baseline:.1%}"
    )


def pretraining(folder: pathlib.Path, seed: int) -> PretrainRecipe:
    """The recipe of the pre-training: on from `start`, which is not trained."""
    from kbert.pretrain.recipe import PretrainRecipe

    return PretrainRecipe.of(
        corpus=str(folder / "data" / "text.txt"),
        model=str(folder / "start"),
        output=str(folder / "pretrain"),
        seed=seed,
        **PRETRAINING,
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
            # with its time, by which a pre-training that goes on knows its text
            shutil.copy2(ASSETS / name, place / name)


def check_folder(folder: pathlib.Path) -> None:
    """Three folders are written anew each time; they must be the quickstart's own.

    Raises:
        BadInput: one of them holds other files.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--dir={folder}: is a file, expected a directory")
    for name, own in (("data", DATA), ("vocabulary", VOCABULARY), ("start", START)):
        place = folder / name
        others = sorted({p.name for p in place.iterdir()} - {*own}) if place.is_dir() else []
        if others:
            raise BadInput(
                f"--dir={folder}: {place} holds {others[0]}, which is no file of the quickstart; "
                "give a new directory"
            )


def random_start(
    folder: pathlib.Path, vocabulary: pathlib.Path = ASSETS, width: int = 128, seed: int = 0
) -> None:
    """A model directory of a small BERT of random weights with a vocabulary, else the shipped one.

    Args:
        folder: to write.
        vocabulary: its directory.
        width: of the vectors. A narrow encoder learns from text within a minute.
        seed: of the weights.
    """
    from kbert import registry
    from kbert.checkpoints import bundle
    from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
    from kbert.encoder import Encoder

    tokenizer = registry.get("tokenizer", "wordpiece").from_directory(vocabulary)
    # more than BERT's 0.1 where no text was seen before, as the messages are few
    dropout = 0.3 if vocabulary == ASSETS else 0.1
    config = EncoderConfig(
        family="bert",
        hidden_size=width,
        num_hidden_layers=2,
        intermediate_size=4 * width,
        embedding=EmbeddingConfig(tokenizer.vocab_size, max_position_embeddings=128),
        attention=AttentionConfig(num_attention_heads=4),
        # wider than BERT's 0.02, which a network this narrow starts too slowly from
        initializer_range=0.05 if width >= 128 else 0.07,
        dropout=DropoutConfig(hidden=dropout, attention=dropout),
    )
    bundle.write(folder, Encoder(config, seed=seed), tokenizer)


class _Steps:
    """Numbers the steps, each with the command that does the same."""

    def __init__(self) -> None:
        self.number = 0

    def say(self, title: str, command: str) -> None:
        self.number += 1
        say(f"\n{self.number}. {title}\n   $ {command}")


def _from_text(
    steps: _Steps, folder: pathlib.Path, first: PretrainRecipe, few: Recipe, random: Recipe
) -> str:
    """Vocabulary, encoder, pre-training, and what it is worth, in words.

    Raises:
        BadInput: it is worth nothing.
    """
    from kbert.commands.pretrain import pretrain
    from kbert.pretrain.recipe import PretrainRecipe
    from kbert.pretrain.vocabularies import VocabularyOptions
    from kbert.pretrain.vocabulary import make

    text, vocabulary = folder / "data" / "text.txt", folder / "vocabulary"
    steps.say(
        "learn a vocabulary",
        f"kbert vocabulary --input={text} --size={SIZE} --output={vocabulary}",
    )
    found = make([text], vocabulary, VocabularyOptions(size=SIZE), quiet=True)
    say(f"{found['size']:,} entries: {vocabulary}")
    random_start(folder / "start", vocabulary, WIDTH, first.run.seed)
    say(f"model: a small encoder of random weights, {folder / 'start'}")
    steps.say("pre-train it", _line("pretrain", first, PretrainRecipe()))
    print(json.dumps(pretrain(first)), flush=True)
    after = _finetuned(steps, few, f" on {FEW} messages")
    before = _finetuned(steps, random, " on the same, from random weights")
    said = f"of {FEW} messages {after:.1%}, and {before:.1%} from random weights"
    say(f"accuracy on dev, {said}")
    if after <= before:
        raise BadInput(f"pre-training is worth nothing: accuracy {said}")
    return f"{said}; "


def _finetuned(steps: _Steps, recipe: Recipe, how: str = "") -> float:
    """Fine-tunes and evaluates; returns the accuracy."""
    from kbert.commands import evaluate, finetune
    from kbert.train.recipe import Recipe

    steps.say(f"fine-tune{how}", _line("finetune", recipe, Recipe()))
    finetune.finetune(recipe)
    model, dev = f"{recipe.run.output}/model", recipe.data.dev
    steps.say("evaluate", f"kbert evaluate --model={model} --data={dev}")
    metrics: dict[str, Any] = evaluate.evaluate(model, dev)
    print(json.dumps(metrics), flush=True)
    return float(metrics["accuracy"])


def ask(steps: _Steps, base: pathlib.Path) -> None:
    """Serves an export on loopback, asks it the questions over REST, prints the answers."""
    from kbert.serving.server import running_server

    with running_server(str(base), "desk") as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/desk:predict"
        body = json.dumps({"instances": list(QUESTIONS)})
        steps.say("ask", f"curl -d '{body}' {url}")
        request = urllib.request.Request(url, data=body.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
    for question, row in zip(QUESTIONS, rows, strict=True):
        print(f"{question}\n  -> {row['label']} ({max(row['probabilities']):.0%})", flush=True)


def _line(command: str, recipe: Groups, default: Groups) -> str:
    """The command line of a recipe: what differs from the defaults."""
    usual = set(default.flagfile().splitlines())
    changed = [line for line in recipe.flagfile().splitlines() if line not in usual]
    return " ".join([f"kbert {command}", *changed])
