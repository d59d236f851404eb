"""Text as a layer: the same ids as everywhere, its configuration, its files, its refusals."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from refusals import message

import kbert
from kbert.encoder import INPUTS
from kbert.text import WordPieceTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "tap", "drip", "##s", "road"]
TEXTS = ["The tap drips", "road", ""]


@pytest.fixture(scope="module")
def words() -> WordPieceTokenizer:
    return WordPieceTokenizer(WORDS, model_max_length=16)


def rows(features) -> dict[str, list]:
    assert set(features) == set(INPUTS)
    assert {value.dtype for value in features.values()} == {tf.int32}
    return {name: value.numpy().tolist() for name, value in features.items()}


def test_ids_of_texts(words):
    found = rows(kbert.layers.Preprocess(words)(tf.constant(TEXTS)))
    assert found == {
        "input_ids": [[2, 5, 6, 7, 8, 3], [2, 9, 3, 0, 0, 0], [2, 3, 0, 0, 0, 0]],
        "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
        "token_type_ids": [[0] * 6] * 3,
    }


def test_ids_of_pairs_cut_longest_first(words):
    preprocess = kbert.layers.Preprocess(words, max_length=6)
    found = rows(preprocess(["the tap drips", "road"], ["road", "the tap"]))
    assert found == {
        "input_ids": [[2, 5, 6, 3, 9, 3], [2, 9, 3, 5, 6, 3]],
        "attention_mask": [[1] * 6] * 2,
        "token_type_ids": [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]],
    }


@pytest.mark.parametrize(("length", "width"), [(None, 6), (16, 16), ([8, 16], 8), ([3, 16], 16)])
def test_length(words, length, width):
    preprocess = kbert.layers.Preprocess(words, length=length)
    assert preprocess(TEXTS)["input_ids"].shape == (3, width)
    spec = preprocess(keras.Input((), dtype="string"))["input_ids"]
    assert (spec.shape, spec.dtype) == ((None, length if length == 16 else None), "int32")


def test_the_same_from_a_directory_a_model_and_a_tokenizer(tiny_classifier):
    model = kbert.load(tiny_classifier)
    texts = tf.constant(["The street lamp is dark.", "ÄRGER, 日本 \x00 [SEP]", "a" * 300])
    expected = rows(model.preprocess({"text": texts}))
    for source in (model, tiny_classifier, str(tiny_classifier), model.tokenizer):
        layer = kbert.layers.Preprocess(source, max_length=model.max_length)
        assert rows(layer(texts)) == expected
    assert kbert.layers.Preprocess(model).max_length == 32  # what it was trained with


def test_in_a_dataset(words):
    preprocess = kbert.layers.Preprocess(words)
    data = tf.data.Dataset.from_tensor_slices((TEXTS, [0, 1, 1])).batch(2)
    ids = [x["input_ids"].shape for x, _ in data.map(lambda text, label: (preprocess(text), label))]
    assert ids == [(2, 6), (1, 2)]


def test_config_holds_numbers_and_assets_the_vocabulary(words, tmp_path):
    cased = WordPieceTokenizer([*WORDS, "The"], lower_case=False, model_max_length=16)
    layer = kbert.layers.Preprocess(cased, max_length=8, length=[4, 8])
    config = layer.get_config()
    assert config == {
        "max_length": 8,
        "length": [4, 8],
        "tokenizer": "wordpiece",
        "name": "preprocess",
    }
    again = kbert.layers.Preprocess.from_config(config)
    assert message(again, ["The tap"]) == (
        "preprocess: has no vocabulary; load the model's .keras file, or call load_assets(a model "
        "directory)"
    )
    layer.save_assets(tmp_path)
    again.load_assets(tmp_path)
    assert again.get_config() == config
    assert rows(again(["The tap"])) == rows(layer(["The tap"]))
    assert layer(["The tap"])["input_ids"].numpy().tolist() == [[2, 10, 6, 3]]


def test_mixed_precision_leaves_ids_alone(words):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = kbert.layers.Preprocess(words)
        assert layer(TEXTS)["input_ids"].dtype == tf.int32
        assert layer(keras.Input((), dtype="string"))["input_ids"].dtype == "int32"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_length": 2}, "max_length: found 2, expected 3 to 16 (the longest row)"),
        (
            {"max_length": 17},
            "max_length: found 17, expected 3 to 16 (the longest row)",
        ),
        ({"length": 8}, "length must be at least max_length, 16; got 8"),
        ({"length": [8, 4]}, "length must be one number or growing positive numbers; got [8, 4]"),
    ],
)
def test_lengths_out_of_range(words, arguments, expected):
    assert message(kbert.layers.Preprocess, words, **arguments) == expected


def test_refusals(words, tmp_path):
    make = kbert.layers.Preprocess
    assert message(make, 7) == (
        "source: found int, expected a model directory, a TextModel or a tokenizer"
    )
    assert message(make, tmp_path / "none") == (
        f"{tmp_path / 'none'}: no tokenizer here; looked for vocab.txt and tokenizer.json (the "
        "directory does not exist)"
    )
    assert message(make, tmp_path, tokenizer="wordpeice") == (
        "unknown tokenizer 'wordpeice'; did you mean 'wordpiece', 'wordpiece_files', 'words'?"
    )
    unbounded = WordPieceTokenizer(WORDS)
    assert message(make, unbounded) == (
        "max_length: missing, and the tokenizer's files do not say it"
    )
    assert message(make, unbounded, 2) == "max_length: found 2, expected 3 or more"
    layer = make(words)
    for column, found in (
        (keras.Input((1,), dtype="string"), "string of shape (None, 1)"),
        (keras.Input((), dtype="int32"), "int32 of shape (None,)"),
    ):
        assert message(layer, column) == (
            f'preprocess: found {found}, expected [R] string, as of keras.Input((), dtype="string")'
        )
    assert message(layer, tf.constant([["the tap"]])) == (
        "text must be [R], a list of strings or a 1-d string tensor; got of shape (1, 1)"
    )


def test_public_name_is_lazy():
    program = (
        "import sys, kbert\n"
        "assert kbert.layers.__name__ == 'kbert.layers'\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    with pytest.raises(AttributeError, match=r"module 'kbert.layers' has no attribute 'Preproces'"):
        _ = kbert.layers.Preproces


WITH_JAX = """
import sys, keras, tensorflow as tf, kbert
preprocess = kbert.layers.Preprocess(sys.argv[1], 16, length=16)
encoder = kbert.Encoder(kbert.shapes()["bert_tiny"])
model = keras.Sequential([keras.layers.Lambda(lambda x: encoder(x)["pooled_output"]),
                          keras.layers.Dense(1)])
model.compile("sgd", "mse")
data = tf.data.Dataset.from_tensor_slices((["a bin", "two bins"], [0.0, 1.0])).batch(2)
model.fit(data.map(lambda text, label: (preprocess(text), label)), verbose=0)
try:
    preprocess(keras.Input((), dtype="string"))
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_with_jax_it_works_in_a_dataset_and_says_so(tiny_model):
    done = subprocess.run(
        [sys.executable, "-c", WITH_JAX, str(tiny_model)],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == (
        "preprocess: Keras computes with jax, which has no strings; use the layer in tf.data, "
        "data.map(lambda text, label: (preprocess(text), label))\n"
    )
