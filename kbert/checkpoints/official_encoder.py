"""A program of its own: Model Garden's encoder restores a checkpoint and says what it computes.

official_encoder.py FOLDER

Runs under an interpreter that has tf-models-official, which kbert itself never imports. In FOLDER:
`bert_model.ckpt.*`; `official.json`, the config in Hugging Face's words; `inputs.npz`. Written:
`outputs.npz` with `sequence_output` [B, T, D] and `pooled_output` [B, D].
"""

import importlib
import json
import os
import pathlib
import sys


def main(folder: pathlib.Path) -> None:
    """See the module."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        networks = importlib.import_module("official.nlp.modeling.networks")
        keras = importlib.import_module("tf_keras")
    except ImportError as error:
        sys.exit(
            f"{sys.executable} has no Model Garden ({error}); "
            'pip install "kbert-tf[official]", or name another interpreter by --python'
        )
    import numpy as np
    import tensorflow as tf

    config = json.loads((folder / "official.json").read_text())
    word = config["hidden_act"]
    tanh = word in ("gelu_new", "gelu_pytorch_tanh")
    gelu = keras.activations.gelu
    act = (lambda x: gelu(x, approximate=tanh)) if "gelu" in word else word
    encoder = networks.BertEncoder(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        max_sequence_length=config["max_position_embeddings"],
        type_vocab_size=config["type_vocab_size"],
        inner_dim=config["intermediate_size"],
        inner_activation=act,
        output_dropout=0.0,
        attention_dropout=0.0,
        dict_outputs=True,
    )
    checkpoint = tf.train.Checkpoint(encoder=encoder)
    checkpoint.read(str(folder / "bert_model.ckpt")).assert_existing_objects_matched()
    given = np.load(folder / "inputs.npz")
    out = encoder(
        {
            "input_word_ids": given["input_ids"],
            "input_mask": given["attention_mask"],
            "input_type_ids": given["token_type_ids"],
        },
        training=False,
    )
    np.savez(
        folder / "outputs.npz",
        sequence_output=out["sequence_output"].numpy(),
        pooled_output=out["pooled_output"].numpy(),
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
