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
# head of a golden -> its outputs
HEADS = {
    "sequence_classification": {"classifier": ["logits"]},
    "token_classification": {"classifier": ["logits"]},
    "multiple_choice": {"classifier": ["logits"]},
    "question_answering": {"span": ["start_logits", "end_logits"]},
    "masked_lm": {"masked_lm": ["logits"]},
    "for_pretraining": {
        "masked_lm": ["prediction_logits"],
        "next_sentence": ["seq_relationship_logits"],
    },
    "model": {},
}
MATCHED = {"sequence_classification": 41, "token_classification": 39, "multiple_choice": 41}
MATCHED |= {"question_answering": 39, "masked_lm": 42, "for_pretraining": 46, "model": 39}
GOLDENS |= {
    f"models/bert-{head}": (f"models/bert-{head}", count) for head, count in MATCHED.items()
}


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
    from kbert.checkpoints.checkpoint import open_checkpoint
    from kbert.conversion import Filled

    outputs, matched = GOLDENS[name]
    inputs = dict(np.load(goldens / outputs / "inputs.npz"))
    inputs = {key: value.reshape(-1, value.shape[-1]) for key, value in inputs.items()}
    expected = dict(np.load(goldens / outputs / "outputs.npz"))
    real = inputs["attention_mask"] == 1
    checkpoint = open_checkpoint(place_of(goldens, scratch, name))
    model = Filled(checkpoint, checkpoint.config)
    assert len(model.report.matched) == matched
    assert model.report.missing == []
    out = model.outputs(inputs)
    states = out.pop("hidden_states")
    found = {
        f"hidden_{i}": np.abs(state - expected[f"hidden_{i}"])[real].max()
        for i, state in enumerate(states)
    }
    pooled = out.pop("pooled_output", None)
    if pooled is not None and "pooler_output" in expected:
        found["pooled"] = np.abs(pooled - expected["pooler_output"]).max()
    kind = outputs.rpartition("bert-")[2]
    heads = HEADS.get(kind, HEADS["for_pretraining"])
    whole = matched == 46 or name.startswith("models/bert-")
    assert set(out) == (set(heads) if whole else set())
    for head, logits in out.items():
        stored = np.stack([expected[key] for key in heads[head]])
        difference = np.abs(logits.reshape(stored.shape) - stored)
        if difference.shape[1:3] == real.shape:
            difference = difference[:, real]
        found[head] = difference.max()
    return {key: float(value) for key, value in found.items()}


def check(found: dict[str, float]) -> None:
    """Holds the differences against architecture.md, "What stays true", 5."""
    assert {"hidden_0", "hidden_1", "hidden_2"} <= set(found)
    for key, value in found.items():
        limit = 1e-5 if key.startswith(("hidden", "pooled")) else 2e-5
        assert value <= limit, (key, value)


if __name__ == "__main__":
    places = [pathlib.Path(word) for word in sys.argv[1:3]]
    print(json.dumps({name: run(*places, name) for name in sys.argv[3:] or GOLDENS}))
