"""Every golden checkpoint of BERT's weights, filled into a model and run on its golden inputs.

golden_runs.py GOLDENS SCRATCH [NAME ...] prints {name: {output: largest difference}} as JSON, with
whatever backend KERAS_BACKEND names.
"""

import json
import pathlib
import shutil
import sys

import numpy as np

_LEGACY, _WHOLE = "models/legacy/", "models/bert-for_pretraining"

# checkpoint -> (folder of its inputs and outputs, weights matched)
GOLDENS = {
    _LEGACY + "bin-zip": (_WHOLE, 46),
    _LEGACY + "bin-pickle": (_WHOLE, 46),
    _LEGACY + "bin-gamma-beta": (_WHOLE, 46),
    _LEGACY + "bin-sharded": (_WHOLE, 46),
    _LEGACY + "safetensors-sharded": (_WHOLE, 46),
    _LEGACY + "safetensors-no-prefix": (_WHOLE, 39),
    _LEGACY + "safetensors-no-pooler": (_WHOLE, 37),
    _LEGACY + "safetensors-bfloat16": (_LEGACY + "safetensors-bfloat16", 46),
    _LEGACY + "safetensors-float16": (_LEGACY + "safetensors-float16", 46),
    # "gelu" is the tanh form here, so the outputs are others
    "tf1/bert": ("tf1/bert", 46),
    "tf1/bert-adam": ("tf1/bert", 46),
    "tf2/encoder": ("tf1/bert", 39),
    "tf2/pretrainer": ("tf1/bert", 46),
    # a config beside in Hugging Face's words says that it is the exact one
    "tf2/encoder+config": (_WHOLE, 39),
    "tf2/pretrainer+config": (_WHOLE, 46),
}
LIMITS = {"hidden": 1e-5, "pooled": 1e-5, "masked_lm": 2e-5, "next_sentence": 2e-5}


def place_of(goldens: pathlib.Path, scratch: pathlib.Path, name: str) -> pathlib.Path:
    """The checkpoint; a copy with a config where the name says so."""
    plain, _, beside = name.partition("+")
    if not beside:
        return goldens / plain
    folder = pathlib.Path(shutil.copytree(goldens / plain, scratch / plain.replace("/", "-")))
    shutil.copyfile(goldens / _WHOLE / "config.json", folder / "config.json")
    return folder


def run(goldens: pathlib.Path, scratch: pathlib.Path, name: str) -> dict[str, float]:
    """Output -> largest difference at real tokens; asserts what became of the weights."""
    import kbert
    from kbert.checkpoints.checkpoint import open_checkpoint
    from kbert.layers.heads import MaskedLM, NextSentence

    outputs, matched = GOLDENS[name]
    inputs = dict(np.load(goldens / outputs / "inputs.npz"))
    expected = dict(np.load(goldens / outputs / "outputs.npz"))
    real = inputs["attention_mask"] == 1
    checkpoint = open_checkpoint(place_of(goldens, scratch, name))
    encoder, heads = kbert.Encoder(checkpoint.config), []
    if matched == 46:
        heads = [MaskedLM(checkpoint.config), NextSentence(checkpoint.config)]
        for head in heads:
            head.build()
    report = checkpoint.fill({w.path: w for part in (encoder, *heads) for w in part.weights})
    assert len(report.matched) == matched
    assert report.missing == []
    out = encoder(inputs, hidden_states=True)
    found = {
        f"hidden_{i}": np.abs(np.asarray(state) - expected[f"hidden_{i}"])[real].max()
        for i, state in enumerate(out["hidden_states"])
    }
    if matched != 37 and "pooler_output" in expected:
        pooled = np.asarray(out["pooled_output"])
        found["pooled"] = np.abs(pooled - expected["pooler_output"]).max()
    if heads:
        words = np.asarray(heads[0](out["sequence_output"], encoder.word_table))
        found["masked_lm"] = np.abs(words - expected["prediction_logits"])[real].max()
        follows = np.asarray(heads[1](out["pooled_output"]))
        found["next_sentence"] = np.abs(follows - expected["seq_relationship_logits"]).max()
    return {key: float(value) for key, value in found.items()}


def check(found: dict[str, float]) -> None:
    """Holds the differences against architecture.md, "What stays true", 5."""
    assert {"hidden_0", "hidden_1", "hidden_2"} <= set(found)
    for key, value in found.items():
        assert value <= LIMITS[key.split("_0")[0].split("_1")[0].split("_2")[0]], (key, value)


if __name__ == "__main__":
    places = [pathlib.Path(word) for word in sys.argv[1:3]]
    print(json.dumps({name: run(*places, name) for name in sys.argv[3:] or GOLDENS}))
