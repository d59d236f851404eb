"""Runs under the interpreter that has Model Garden: restores, computes, saves.

run_garden.py FOLDER reads FOLDER/jobs.json, a list of jobs, each on models of FOLDER/NAME:
{"do": "restore", "name", "kind", "item", "config"}: restores NAME/bert_model.ckpt as `item`,
    every object matched, and writes the outputs for NAME/inputs.npz to NAME/KIND-ITEM.npz
{"do": "save", "name", "kind", "item", "config", "seed"}: random weights; writes NAME/ckpt and
    NAME/outputs.npz; kind "savedmodel" writes NAME/saved
"""

import json
import os
import pathlib
import sys

os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import numpy as np
import tensorflow as tf
import tf_keras
from official.nlp.modeling import layers, models, networks


def activation(word):
    tanh = word == "gelu_new"
    if "gelu" not in word:
        return word
    return lambda x: tf_keras.activations.gelu(x, approximate=tanh)


def encoder(config, kind):
    cls = networks.BertEncoderV2 if "v2" in kind else networks.BertEncoder
    return cls(
        vocab_size=config["vocab_size"],
        hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        max_sequence_length=config["max_position_embeddings"],
        type_vocab_size=config["type_vocab_size"],
        inner_dim=config["intermediate_size"],
        inner_activation=activation(config["hidden_act"]),
        output_dropout=0.0,
        attention_dropout=0.0,
        **({} if "v2" in kind else {"dict_outputs": True}),
    )


def build(config, kind):
    """A model of Garden's, by the first word of its kind."""
    network = encoder(config, kind)
    first = kind.split()[0]
    if first == "pretrainer":
        head = layers.ClassificationHead(
            inner_dim=config["hidden_size"], num_classes=2, dropout_rate=0.0, name="next_sentence"
        )
        return models.BertPretrainerV2(
            network, mlm_activation=activation(config["hidden_act"]), classification_heads=[head]
        )
    if first == "classifier":
        return models.BertClassifier(
            network, num_classes=3, dropout_rate=0.0, use_encoder_pooler="own" not in kind
        )
    if first == "span":
        return models.BertSpanLabeler(network)
    return network


def outputs(model, kind, inputs):
    feed = {
        "input_word_ids": inputs["input_ids"],
        "input_mask": inputs["attention_mask"],
        "input_type_ids": inputs["token_type_ids"],
    }
    first = kind.split()[0]
    if first == "pretrainer":
        rows, length = inputs["input_ids"].shape
        positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
        out = model({**feed, "masked_lm_positions": positions}, training=False)
        return {"masked_lm": out["mlm_logits"], "next_sentence": out["next_sentence"]}
    out = model(feed, training=False)
    if first == "classifier":
        return {"classifier": out}
    if first == "span":
        start, end = out if isinstance(out, (list, tuple)) else out.values()
        return {"span": tf.stack([start, end])}
    return {key: out[key] for key in ("sequence_output", "pooled_output")}


def items(model, item):
    """What the checkpoint is made of; `items` is what the model itself names."""
    if item == "items":
        return {"model": model, **model.checkpoint_items}
    return {item: model}


def main(folder):
    for job in json.loads((folder / "jobs.json").read_text()):
        place, kind = folder / job["name"], job["kind"]
        inputs = dict(np.load(place / "inputs.npz"))
        model = build(job["config"], kind)
        outputs(model, kind, inputs)  # makes the variables
        checkpoint = tf.train.Checkpoint(**items(model, job["item"]))
        if job["do"] == "restore":
            checkpoint.read(str(place / "bert_model.ckpt")).assert_existing_objects_matched()
            target = f"{kind} {job['item']}.npz"
        else:
            generator = np.random.default_rng(job["seed"])
            for variable in model.variables:
                middle = "gamma" in variable.name
                variable.assign(generator.normal(middle, 0.2, variable.shape))
            if "saved" in kind:
                tf.saved_model.save(model, str(place / "saved"))
            checkpoint.write(str(place / "ckpt"))
            target = "outputs.npz"
        found = outputs(model, kind, inputs)
        np.savez(place / target, **{key: np.asarray(value) for key, value in found.items()})


main(pathlib.Path(sys.argv[1]))
