"""Checkpoints of other formats that are refused, and conversions that would change outputs."""

import io
import json
import zipfile
from collections.abc import Mapping

import numpy as np

from bad_input.place import Case, Place, finetune, other

_SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 9,
}
_MODEL = finetune(model="{p}/model")
_AGAIN = "Copy or download the files again, and compare their sizes with those at the source."


def _saver(prefix: str = "bert_model.ckpt", config: Mapping | None = _SIZES, cut: bool = False):
    """Files of TensorFlow 1 as {p}/model, with one tensor."""

    def make(place: Place) -> None:
        from kbert.checkpoints.tensor_bundle import write_tensors

        folder = place.folder / "model"
        folder.mkdir(exist_ok=True)
        name = "bert/embeddings/word_embeddings"
        write_tensors(folder / prefix, {name: np.zeros((9, 8), np.float32)})
        if config is not None:
            (folder / "bert_config.json").write_text(json.dumps(config))
        if cut:
            data = folder / f"{prefix}.data-00000-of-00001"
            data.write_bytes(data.read_bytes()[:100])

    return make


def _beside(name: str, content: str):
    return lambda place: (place.folder / "model" / name).write_text(content)


def _without(name: str):
    return lambda place: (place.folder / "model" / name).unlink()


def _zip(**members: bytes):
    """{p}/model.zip."""

    def make(place: Place) -> None:
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name.replace("__", "/").replace("_", "."), content)
        (place.folder / "model.zip").write_bytes(raw.getvalue())

    return make


def _convert(source="{start}", **flags):
    given = {"source": source, "target": "{p}/out", **flags}
    return other("convert", *(f"--{key}={value}" for key, value in given.items()))


CASES = [
    Case(
        "google_files_without_a_config",
        "Files of TensorFlow 1 without the config of the release beside them.",
        "{p}/model: no bert_config.json beside the checkpoint, and its weights do not say the "
        "number of attention heads",
        "Put `bert_config.json` there, under this name; it is in the archive of each release.",
        _MODEL,
        (_saver(config=None),),
    ),
    Case(
        "another_familys_files",
        "The checkpoint is of a family that this version does not have.",
        "{p}/model: albert_config.json is the config of a family that kbert does not have, "
        "'albert'; did you mean 'bert'?",
        "`kbert.families()` names those there are.",
        _MODEL,
        (_saver(config=None), _beside("albert_config.json", "{}")),
    ),
    Case(
        "several_checkpoints",
        "A directory holds several checkpoints, as a training run leaves them.",
        "{p}/model: holds 2 checkpoints (model.ckpt-100, model.ckpt-200); give one of them, as "
        "{p}/model/model.ckpt-200",
        "Give the beginning of the files' names, without `.index`.",
        _MODEL,
        (_saver("model.ckpt-100"), _saver("model.ckpt-200")),
    ),
    Case(
        "no_data_beside_the_index",
        "The index is there, the data are not.",
        "{p}/model: no bert_model.ckpt.data-00000-of-00001 beside the index",
        _AGAIN,
        _MODEL,
        (_saver(), _without("bert_model.ckpt.data-00000-of-00001")),
    ),
    Case(
        "data_cut_short",
        "The data end before a tensor does.",
        "{p}/model: cut short: bert/embeddings/word_embeddings takes 288 bytes, its files have 100",
        _AGAIN,
        _MODEL,
        (_saver(cut=True),),
    ),
    Case(
        "google_weights_are_missing",
        "Tensors of the model are not in the checkpoint.",
        "{p}/model: 22 of 23 weights are missing: bert/embeddings/position_embeddings, …",
        "The config is of another model, or the checkpoint holds a part only: `kbert inspect`.",
        _convert("{p}/model"),
        (_saver(),),
    ),
    Case(
        "an_activation_of_no_release",
        "The config asks for an activation that the first releases never had.",
        "{p}/model/bert_config.json: hidden_act: found 'swish', expected one that the original "
        "has; known: 'gelu', 'relu', 'tanh'",
        'Look where the config came from; in these files "gelu" means the tanh form.',
        _MODEL,
        (_saver(config={**_SIZES, "hidden_act": "swish"}),),
    ),
    Case(
        "a_zip_of_two_checkpoints",
        "An archive holds checkpoints in several folders.",
        "{p}/model.zip: checkpoints in 2 folders ('a', 'b'), expected one",
        "Unpack it, and give one of the folders.",
        finetune(model="{p}/model.zip"),
        (_zip(a__x_index=b"1", b__y_index=b"2"),),
    ),
    Case(
        "a_zip_that_is_none",
        "A file that is called so, and no archive.",
        "{p}/model.zip: not a zip that can be read: File is not a zip file",
        _AGAIN,
        finetune(model="{p}/model.zip"),
        (lambda place: (place.folder / "model.zip").write_bytes(b"<html>"),),
    ),
    # kbert convert
    Case(
        "convert_to_something",
        "A format that kbert does not write.",
        "--format: cannot write 'tf2'; did you mean 'tf1'?",
        "`huggingface`, `tf1` or `garden`, which is TensorFlow 2's.",
        _convert(format="tf2"),
    ),
    Case(
        "convert_onto_something",
        "The target is there already.",
        "{p}: is there already; give a new directory",
        "`kbert convert` replaces nothing; name a directory that is not there yet.",
        _convert(target="{p}"),
    ),
    Case(
        "convert_the_exact_gelu",
        "The model computes the exact gelu, which a TensorFlow 1 config cannot say.",
        "hidden_act: found 'gelu', the exact form; a TensorFlow 1 checkpoint has no word for it, "
        "its 'gelu' is the tanh form (outputs differ by some 1e-3); --activation=gelu_new writes "
        "these weights for the tanh form",
        "`--format=garden` keeps it. With `--activation=gelu_new` the largest difference of the "
        "outputs is printed.",
        _convert(format="tf1"),
    ),
    Case(
        "convert_with_an_unknown_activation",
        "An activation that kbert does not have.",
        "--activation: unknown 'gelu_tanh'; did you mean 'gelu_new', 'gelu_pytorch_tanh', 'tanh'?",
        "`gelu` is the exact form, `gelu_new` the tanh form.",
        _convert(activation="gelu_tanh"),
    ),
    Case(
        "convert_allowing_nothing",
        "`--allow_missing` names no weight of the model.",
        "--allow_missing: no weight begins with 'pooler/kernel'; did you mean "
        "'encoder/pooler/kernel'?",
        "Names are those in kbert, as `kbert inspect --tensors` lists them.",
        _convert(allow_missing="pooler/kernel"),
    ),
    Case(
        "convert_without_a_source",
        "`--source` is not given.",
        "--source is missing: Checkpoint to read.",
        "Give the checkpoint to convert.",
        other("convert", "--target={p}/out"),
        code=2,
    ),
    Case(
        "inspect_nothing",
        "Nothing is there.",
        "{p}/nowhere: no such model directory",
        "Check the path.",
        other("inspect", "{p}/nowhere"),
    ),
]
