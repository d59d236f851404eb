"""What every family and every task must hold, as functions of their names.

A new family or task is one new file in the package; nothing here changes for it. A task whose
examples are not single labels of a text adds its own to `EXAMPLES`.
"""

import json
import math
import operator

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from safetensors.numpy import save_file

import kbert
from kbert import registry
from kbert.answers import alike
from kbert.checkpoints import names
from kbert.checkpoints.formats.huggingface import Directory
from kbert.config import AttentionConfig, EmbeddingConfig, EncoderConfig, parameter_counts
from kbert.encoder import INPUTS, asked, over_rows, picked
from kbert.layers.heads import MaskedLM, NextSentence, Span
from kbert.tasks import Task
from kbert.text import WordPieceTokenizer

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "night", "##s"]

# task -> (what `predict` takes, the label of each)
TEXTS = {"text": ["good day", "bad days", "good", "bad night night"]}
EXAMPLES = {
    "regression": (TEXTS, [1.5, "-0.25", 2, "1e-1"]),
    "span_extraction": (
        {
            "question": ["day", "night", "bad", "night"],
            "context": ["good day", "bad days and night", "good bad good", "day"],
        },
        [
            [{"text": "day", "answer_start": 5}],
            [{"text": "night", "answer_start": 13}, {"text": "bad", "answer_start": 0}],
            [{"text": "bad", "answer_start": 5}],
            [],
        ],
    ),
    "token_classification": (
        {"text": ["good day", "bad days and night", "night", "day, bad"]},
        [
            [{"start": 5, "end": 8, "label": "time"}],
            [
                {"start": 4, "end": 8, "label": "time"},
                {"start": 13, "end": 18, "label": "time"},
                {"start": 0, "end": 3, "label": "mood"},
            ],
            [],
            [{"start": 5, "end": 8, "label": "mood"}],
        ],
    ),
    "multiple_choice": (
        {
            "context": ["good day", "bad night", "good", "day"],
            "choices": [
                ["bad", "days", "night"],
                ["good"],
                ["", "night", "day"],
                ["bad day", "good days"],
            ],
        },
        [2, 0, "1", 0],
    ),
    "masked_lm": (
        {"text": ["good [MASK]", "[MASK] days [MASK]", "[MASK]", "bad [MASK][MASK] night"]},
        ["day", "bad night", "good", "nights"],
    ),
    "pretraining": (
        {"text": ["good [MASK]", "[MASK] days [MASK]", "[MASK]", "bad [MASK][MASK] night"]},
        ["day", "bad night", "good", "nights"],
    ),
    "embedding": (
        {**TEXTS, "text_pair": ["good days", "good", "bad", "bad night"]},
        [0.9, "-0.25", 0, "1e-1"],
    ),
    "multi_label": (TEXTS, ["joy|light", "", ["gloom", "joy"], "gloom"]),
}
DEFAULT = (TEXTS, ["yes", "no", "yes", "no"])


def tiny(family: str, **changes) -> EncoderConfig:
    """A config of a family that is built in no time."""
    values = {
        "family": family,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "intermediate_size": 12,
        "embedding": EmbeddingConfig(len(VOCABULARY), 16),
        "attention": AttentionConfig(2),
        "initializer_range": 0.3,
    }
    return EncoderConfig(**{**values, **changes})


# Families --------------------------------------------------------------------------------


def config_round_trips(name: str) -> None:
    """Config -> foreign config -> config, with keys of others kept."""
    family = registry.get("family", name)
    assert family.name == name
    config = tiny(name, initializer_range=0.25, foreign={"someone_elses": [1]})
    foreign = json.loads(json.dumps(family.write_config(config)))
    assert foreign["model_type"] == name
    assert foreign["someone_elses"] == [1]
    again = family.read_config(foreign, "config.json")
    assert again.replace(foreign=config.foreign) == config
    assert again.foreign["someone_elses"] == [1]
    assert family.write_config(again) == foreign


def shapes_build_configs(name: str) -> None:
    """Every shape is one of its family, counts its parameters and survives JSON."""
    family = registry.get("family", name)
    assert family.shapes
    for shape, config in family.shapes.items():
        assert config.family == name
        assert EncoderConfig.from_json(config.to_json()) == config
        encoder, pooled, whole = parameter_counts(config)
        assert 0 < encoder < pooled < whole
        assert kbert.shapes()[shape] == config


def bindings(family) -> list:
    """Every layout of every format, with every prefix, for three blocks and two heads."""
    return [
        names.Binding(family.name, layout, prefix, 3, 2)
        for layouts in family.names.values()
        for layout in layouts
        for prefix in layout.prefixes
    ]


def names_are_one_to_one(name: str) -> None:
    """No two weights share a name on either side, and transforms are known ones."""
    family = registry.get("family", name)
    assert set(family.names) <= set(registry.names("format"))
    for binding in bindings(family):
        mapping = binding.mapping
        pairs = [
            *names.expand(binding.layout.encoder, 3),
            *names.expand(binding.layout.heads, 3),
        ]
        assert len(mapping) == len(pairs)
        theirs = [theirs for theirs, _ in mapping.values()]
        assert len(set(theirs)) == len(theirs)
        assert {transform for _, transform in mapping.values()} <= set(names.TRANSFORMS)
        assert not set(theirs) & binding.ignored
        assert set(binding.choices) <= set(hugging(family, 3).mapping)


def hugging(family, layers: int) -> names.Binding:
    """The names of Hugging Face, which every family has."""
    layout = family.names["huggingface"][0]
    return names.Binding(family.name, layout, layout.prefixes[-1], layers, 2)


def heads_of(family, config) -> list:
    """Every head that names of the family can fill, built."""
    heads = [MaskedLM(config), NextSentence(config), Span(config)]
    heads += [registry.get("task", task).head(config, 3, 0) for task in registry.names("task")]
    for head in heads:
        head.build()
    return heads


def names_cover_the_weights(name: str) -> None:
    """Exactly the weights of an encoder, and of the heads, have names."""
    family = registry.get("family", name)
    config = tiny(name)
    mapping = hugging(family, config.num_hidden_layers).mapping
    encoder = kbert.Encoder(config)
    assert {n for n in mapping if n.startswith("encoder/")} == {w.path for w in encoder.weights}
    assert len(encoder.weights) == sum(n.startswith("encoder/") for n in mapping)
    heads = {w.path for head in heads_of(family, config) for w in head.weights}
    assert {n for n in mapping if not n.startswith("encoder/")} == heads


def a_directory_reads_back(name: str, folder) -> None:
    """Weights written under the family's names give the same bits to another encoder."""
    family = registry.get("family", name)
    config = tiny(name)
    encoder = kbert.Encoder(config, seed=1)
    generator = np.random.default_rng(0)
    for weight in encoder.weights:
        weight.assign(generator.normal(size=weight.shape))
    written = names.write({w.path: w for w in encoder.weights}, hugging(family, 2))
    save_file(written, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(family.write_config(config)))
    directory = Directory(folder)
    assert directory.family is family
    other = kbert.Encoder(directory.config, seed=2)
    report = directory.fill({w.path: w for w in other.weights})
    assert (len(report.matched), report.unused, report.missing) == (len(encoder.weights), [], [])
    ids = {"input_ids": np.array([[2, 5, 7, 3]])}
    for key, value in encoder(ids).items():
        assert np.array_equal(other(ids)[key], value), key


FAMILY_CHECKS = (
    config_round_trips,
    shapes_build_configs,
    names_are_one_to_one,
    names_cover_the_weights,
)


# Tasks -----------------------------------------------------------------------------------


class Tiny:
    """A task on a tiny encoder, run over its examples once."""

    def __init__(self, name: str, family: str = "bert") -> None:
        self.task = registry.get("task", name)
        given, self.column = EXAMPLES.get(name, DEFAULT)
        fields = self.task.given(given, {})
        self.fields = {key: tf.constant(value) for key, value in fields.items()}
        self.rows = len(self.column)
        self.labels = self.task.labels_of(self.column)
        self.targets = self.task.targets(
            self.column, self.labels, "labels", range(1, self.rows + 1)
        )
        self.config = tiny(family)
        self.encoder = kbert.Encoder(self.config)
        self.head = self.task.head(self.config, len(self.labels), 0)
        self.head.build()
        self.tokenizer = WordPieceTokenizer(VOCABULARY)
        self.asked = self.task.called(self.task.scored)
        self.features = self.asked.preprocess(self.tokenizer, self.fields, 16)
        rows = self.task.rows(self.tokenizer, fields, self.targets, 16)
        made = {
            key: tf.constant(v if isinstance(v, np.ndarray) else list(v))
            for key, v in rows.fields.items()
        }
        self.count = len(rows)
        self.batch, self.aims = self.task.batch(self.tokenizer, made, tf.constant(rows.targets), 16)
        if "next_sentence" in self.task.terms:
            # labelled rows are no pairs; as if they were
            pairs = tf.range(self.count)[:, None] % 2
            self.aims = tf.concat([pairs, self.aims[:, 1:]], axis=1)

    def logits(self, features=None, training=False):
        given = self.features if features is None else features
        names = (*INPUTS, *self.task.more_inputs)
        inputs = {name: given[name] for name in names if name in given}

        def network(inputs):
            out = self.encoder(inputs, training=training, **asked(self.task.needs))
            return self.head(*picked(out, inputs, self.task.needs), training=training)

        return over_rows(network, inputs)

    def decode(self, logits, options=None, features=None):
        features = self.features if features is None else features
        return self.asked.decode(logits, self.labels, options, features)

    def of_row(self, row):
        """Features of one row alone; `row` may be a slice."""
        chosen = row if isinstance(row, slice) else slice(row, row + 1)
        fields = {key: value[chosen] for key, value in self.fields.items()}
        return self.asked.preprocess(self.tokenizer, fields, 16)


def task_is_described(name: str) -> None:
    task = registry.get("task", name)
    assert task.name == name
    assert task.inputs
    assert len(set(task.inputs)) == len(task.inputs)
    outputs = ("pooled_output", "sequence_output", "hidden_states", "word_table")
    assert task.needs
    assert set(task.needs) <= {*outputs, *INPUTS, *task.more_inputs}


def targets_are_found(name: str) -> None:
    """Labels come out in one order however the rows are turned; targets one a row."""
    run = Tiny(name)
    assert run.task.labels_of(list(reversed(run.column))) == run.labels
    assert run.labels == run.task.own_labels or len(run.labels) >= 2
    assert len(set(run.labels)) == len(run.labels)
    assert len(run.targets) == run.rows
    turned = run.task.targets(run.column[::-1], run.labels, "labels", range(run.rows))
    assert turned.tolist() == run.targets[::-1].tolist()


def preprocess_makes_features(name: str) -> None:
    """int32 [B, T] under the encoder's names, no longer than asked, rows apart from each other."""
    run = Tiny(name)
    known = {*INPUTS, *run.task.more_inputs}
    assert run.task.windows or run.task.more_inputs or set(run.features) <= known
    for value in (run.features[name] for name in INPUTS if name in run.features):
        assert value.dtype == tf.int32
        several = run.task.windows or run.task.scored
        assert value.shape[0] == run.rows or (several and value.shape[0] > run.rows)
    short = run.asked.preprocess(run.tokenizer, run.fields, 5)
    assert short["input_ids"].shape[1] <= 5
    mask = run.features["attention_mask"].numpy()
    among = run.features["input_ids"].numpy()
    alone = [ids for row in range(run.rows) for ids in run.of_row(row)["input_ids"].numpy()]
    assert len(alone) == len(among)
    for one, ids, real in zip(alone, among, mask, strict=True):
        length = real.sum()
        assert one[:length].tolist() == ids[real == 1].tolist()
        assert (one[length:] == 0).all()


def loss_adds_up(name: str) -> None:
    """(sum, count) over the batch is that of its two halves together."""
    run = Tiny(name)
    logits = run.logits(run.batch)
    ones = np.ones(run.count, np.float32)
    total, count = run.task.loss(logits, run.aims, ones)
    assert total.dtype == count.dtype == tf.float32
    assert np.min(count) > 0
    assert np.isfinite(total).all()
    halves = [
        run.task.loss(
            tf.nest.map_structure(operator.itemgetter(part), logits), run.aims[part], ones[part]
        )
        for part in (slice(0, 1), slice(1, None))
    ]
    np.testing.assert_allclose(total, sum(t for t, _ in halves), rtol=1e-5)
    assert np.array_equal(count, sum(c for _, c in halves))
    # a row of weight 0 is as if it were not there
    first = run.task.loss(logits, run.aims, np.eye(1, run.count, dtype=np.float32)[0])
    np.testing.assert_allclose(first[0], halves[0][0], rtol=1e-5)
    assert np.array_equal(first[1], halves[0][1])


def loss_can_be_learned(name: str) -> None:
    """Ten steps down the gradient lower it, and every trainable weight of the head is reached."""
    run = Tiny(name)
    variables = [*run.encoder.trainable_variables, *run.head.trainable_variables]
    losses = []
    for _ in range(10):
        with tf.GradientTape() as tape:
            ones = np.ones(run.count, np.float32)
            total, count = run.task.loss(run.logits(run.batch), run.aims, ones)
            loss = tf.reduce_sum(total / count)
        losses.append(float(loss))
        gradients = tape.gradient(loss, [v.value for v in variables])
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                variable.assign_sub(0.05 * tf.convert_to_tensor(gradient))
        head = gradients[len(run.encoder.trainable_variables) :]
        # a bias moves all choices alike
        for gradient in head[:1] if name == "multiple_choice" else head:
            assert np.abs(gradient.numpy()).max() > 0
    assert losses[-1] < losses[0]


def decode_is_batch_first(name: str) -> None:
    """Every output has a row for each row, in the graph as in eager mode, for none as well."""
    run = Tiny(name)
    logits = run.logits()
    answers = run.decode(logits)
    assert answers
    for key, value in answers.items():
        assert value.shape[0] == run.rows, key
    graph = tf.function(run.decode, autograph=False)(logits)
    assert set(graph) == set(answers)
    for row in (0, run.rows - 1):
        alone = run.of_row(row)
        one = run.decode(run.logits(alone), None, alone)
        for key, value in answers.items():
            # an answer may be filled up to the widest of its batch
            one_row = value.numpy()[row : row + 1]
            found, expected = (x[0] for x in alike(one[key].numpy(), one_row))
            if value.dtype == tf.string:
                assert np.array_equal(found, expected), key
            else:
                assert np.allclose(found, expected, atol=1e-6), key
                assert np.allclose(graph[key].numpy()[row], one_row[0], atol=1e-6), key
    none = run.of_row(slice(0, 0))
    for key, value in run.decode(run.logits(none), None, none).items():
        assert value.shape[0] == 0, key


def evaluate_gives_fractions(name: str) -> None:
    """The metric that picks the best model is among the metrics, and all are plain floats."""
    run = Tiny(name)
    answers = {k: v.numpy() for k, v in run.decode(run.logits()).items()}
    found = run.task.evaluate(answers, run.targets, run.labels)
    assert run.task.best in found
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    for metric in run.task.metrics():
        metric.update_state(run.aims, run.logits(run.batch))
        assert math.isfinite(float(metric.result()))
        if metric.name in found:
            assert math.isclose(float(metric.result()), found[metric.name], abs_tol=1e-6)


def answers_can_be_looked_into(name: str) -> None:
    """Tuned options are JSON, lower no metric and decode; errors, breakdown and plot have rows."""
    run = Tiny(name)
    logits = run.logits()
    answers = {k: v.numpy() for k, v in run.decode(logits).items()}
    plain = run.task.evaluate(answers, run.targets, run.labels)
    options = run.task.tune(answers, run.targets, run.labels)
    assert json.loads(json.dumps(options)) == options
    tuned = {k: v.numpy() for k, v in run.decode(logits, options).items()}
    if options:
        again = run.task.decode_again(answers, run.labels, options)
        assert all(np.array_equal(again[key], value) for key, value in tuned.items())
    assert set(tuned) == set(answers)
    assert run.task.evaluate(tuned, run.targets, run.labels)[run.task.best] >= plain[run.task.best]
    breakdown = run.task.breakdown(answers, run.targets, run.labels)
    assert json.loads(json.dumps(breakdown)) == breakdown
    if type(run.task).errors is not Task.errors:
        errors = run.task.errors(answers, run.targets, run.labels)
        assert {"gold", "predicted", "loss", "wrong"} <= set(errors)
        assert {len(values) for values in errors.values()} == {run.rows}
        if "loss" in plain:
            assert math.isclose(float(np.mean(errors["loss"])), plain["loss"], rel_tol=1e-5)
        assert all(
            loss > 0 for loss, bad in zip(errors["loss"], errors["wrong"], strict=True) if bad
        )
    if run.task.figure:
        axes = Figure().subplots()
        run.task.plot(axes, answers, run.targets, run.labels)
        assert axes.get_title()
        assert axes.get_xlabel()


def rows_do_not_touch(name: str) -> None:
    """A row alone gives the logits that it gives among others."""
    run = Tiny(name)
    together = tf.nest.flatten(run.logits())
    mask = run.features["attention_mask"].numpy()
    for row in range(run.rows):
        length = int(mask[row].sum())
        names = (*INPUTS, *run.task.more_inputs)
        features = {name: run.features[name] for name in names if name in run.features}
        one = {key: value[row : row + 1, :length] for key, value in features.items()}
        for alone, among in zip(tf.nest.flatten(run.logits(one)), together, strict=True):
            expected = among[row].numpy()
            if "sequence_output" in run.task.needs and expected.ndim:
                expected = expected[: len(alone[0])]
            assert np.abs(alone[0].numpy() - expected).max() <= 1e-5


TASK_CHECKS = (
    task_is_described,
    targets_are_found,
    preprocess_makes_features,
    loss_adds_up,
    loss_can_be_learned,
    decode_is_batch_first,
    evaluate_gives_fractions,
    answers_can_be_looked_into,
    rows_do_not_touch,
)
