"""The encoder: a Keras model made from an `EncoderConfig` alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kbert.config import EncoderConfig
from kbert.errors import BadInput
from kbert.layers.block import Block
from kbert.layers.embeddings import Embeddings
from kbert.layers.heads import pooler
from kbert.layers.precision import made_with
from kbert.layers.recomputed import recomputed
from kbert.layers.rows import FlatRows, PaddedRows, flat_pays

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@keras.saving.register_keras_serializable("kbert")
class Encoder(keras.Model):
    """Token ids to vectors.

    Args:
        config: shape and arithmetic.
        seed: every initial weight and every dropout mask follows from it.
        kwargs: `dtype`, a Keras policy such as "mixed_bfloat16" for all layers inside; None is
            the one that Keras has set. `trainable`, False for a frozen encoder.

    Call:
        inputs: dict of `input_ids`, `attention_mask` (1 real, 0 padding), `token_type_ids`, each
            [B, T] int32. The mask defaults to ones, the segments to zeros.
        hidden_states: also return the vectors after the embeddings and after every block.
        attentions: also return the attention probabilities of every block.
        flat: drop the padding before the blocks and put it back behind them. The same answers,
            faster where rows differ in length, and on a CPU; for shapes that need not be static
            and rows of one token at least. None drops it where that pays (`flat_pays`).
        only_pooled: return `pooled_output` alone; of the last block only what the first tokens
            need is computed. For a config with a pooler.
        word_table: also return the word embeddings, by which a masked language model decodes.
        packed: rows may hold several texts, which the mask numbers from 1; tokens see their own
            text alone, and its positions begin at 0. Not with `flat`.

    Returns:
        dict of `sequence_output` [B, T, D]; `pooled_output` [B, D] if the config has a pooler;
        on request `hidden_states`, a list of [B, T, D], `attentions`, a list of
        [B, N, T, T] float32, and `word_table` [V, D]. What they hold at padding means nothing.

    Raises:
        BadInput: an input is missing, has another rank, or T is above max_position_embeddings;
            `only_pooled` without a pooler.

    Example:
        >>> import kbert, numpy as np
        >>> encoder = kbert.Encoder(kbert.shapes()["bert_tiny"])
        >>> encoder({"input_ids": np.array([[101, 7592, 102]])})["pooled_output"].shape
        TensorShape([1, 128])

    Source: Devlin et al., arXiv 1810.04805 section 3; google-research/bert `modeling.py`.
    """

    def __init__(
        self,
        config: EncoderConfig,
        seed: int = 0,
        name: str = "encoder",
        *,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.config, self.seed = config, seed
        self.frozen = False
        # whether a training computes the blocks again on the way back instead of keeping them
        self.recompute = False
        with made_with(self.dtype_policy):
            self.embeddings = self.new_embeddings()
            self.blocks = [self.new_block(i) for i in range(config.num_hidden_layers)]
            self.pooler = pooler(config, seed) if config.pooler else None
        # by its inputs, as TensorFlow traces the encoder when a model around it is exported
        self.build(dict.fromkeys(INPUTS, (None, None)))
        # once there are layers to tell
        self.trainable = trainable

    def freeze(self) -> None:
        """Makes it a fixed function: nothing is trained, and nothing dropped in training."""
        self.trainable, self.frozen = False, True

    def new_embeddings(self) -> Embeddings:
        """The first layer, not yet built; a subclass may give another."""
        return Embeddings(self.config, self.seed, name="embeddings")

    def new_block(self, index: int) -> Block:
        """One block, not yet built; a subclass may give another."""
        return Block(self.config, index, self.seed)

    def build(self, input_shape: Any = None) -> None:
        if self.embeddings.built:
            return
        width = self.config.hidden_size
        self.embeddings.build()
        for block in self.blocks:
            block.build((None, width))
        if self.pooler is not None:
            self.pooler.build((None, width))
        self.built = True

    def call(
        self,
        inputs: Mapping[str, Any],
        training: bool | None = None,
        hidden_states: bool = False,
        attentions: bool = False,
        flat: bool | None = False,
        only_pooled: bool = False,
        word_table: bool = False,
        packed: bool = False,
    ) -> dict[str, Any]:
        """See the class."""
        ids, mask, types = features_of(inputs)
        self.embeddings.check_length(ids)
        flat = flat_pays(mask) and not packed if flat is None else flat
        training = training and not self.frozen
        causal = bool(self.config.attention.causal)
        if flat:
            rows: FlatRows | PaddedRows = FlatRows.of(mask, training, causal)
        else:
            rows = PaddedRows.of(mask, causal, packed)
        x = self.embeddings(rows.of_ids(ids), rows.of_ids(types), rows.places(), training=training)
        if isinstance(rows, PaddedRows):
            x = rows.enter(x)
        if only_pooled:
            if self.pooler is None:
                raise BadInput("only_pooled: this encoder has no pooler")
            for block in self.blocks:
                x, _ = block(x, rows=rows, training=training, first=block is self.blocks[-1])
            return {"pooled_output": self.pooler(x)}
        states, weights = [x], []
        for block in self.blocks:
            if training and self.recompute and not attentions:
                x, probabilities = recomputed(block, x, rows=rows, training=training), None
            else:
                x, probabilities = block(x, rows=rows, training=training, probabilities=attentions)
            states.append(x)
            weights.append(probabilities)
        outputs: dict[str, Any] = {"sequence_output": rows.leave(x)}
        if self.pooler is not None:
            outputs["pooled_output"] = self.pooler(rows.first(x))
        if hidden_states:
            outputs["hidden_states"] = [rows.leave(state) for state in states]
        if attentions:
            outputs["attentions"] = weights
        if word_table:
            outputs["word_table"] = ops.convert_to_tensor(self.word_table)
        return outputs

    @property
    def output(self) -> Any:
        """Symbolic outputs of the call that has most of them.

        Keras counts these when a model is made around a shared layer, and takes the first call's,
        which for the encoder of a `TextModel` has no hidden states.
        """
        return max((node.output_tensors for node in self._inbound_nodes), key=len, default=[])

    @property
    def word_table(self) -> Any:
        """The word embeddings, [V, D]; a masked language model decodes by them."""
        return self.embeddings.word.embeddings

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "seed": self.seed,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Encoder:
        values = dict(config)
        return cls(EncoderConfig.from_dict(values.pop("config")), **values)


def asked(needs: Sequence[str]) -> dict[str, bool]:
    """How an encoder is called for a head that reads `needs`."""
    rows = {"sequence_output", "hidden_states"} & set(needs)
    return {
        "only_pooled": "pooled_output" in needs and not rows,
        "hidden_states": "hidden_states" in needs,
        "word_table": "word_table" in needs,
    }


def picked(found: Mapping[str, Any], inputs: Mapping[str, Any], needs: Sequence[str]) -> list[Any]:
    """What a head reads, in the order of `needs`: outputs of an encoder, or inputs of its."""
    return [found[name] if name in found else inputs[name] for name in needs]


def over_rows(run: Callable[..., Any], inputs: Any, *arguments: Any, **kwargs: Any) -> Any:
    """What `run` gives for features [R, T]; those of [B, C, T] are taken as R = B*C rows.

    Its tensors, [R, ...] in any structure, then come back as [B, C, ...].
    """
    ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
    if ids is None or len(ids.shape) != 3:
        return run(inputs, *arguments, **kwargs)
    batch, choices, _ = ops.shape(ids)
    flat = {name: ops.reshape(x, (-1, ops.shape(x)[-1])) for name, x in inputs.items()}
    found = run(flat, *arguments, **kwargs)
    return keras.tree.map_structure(
        lambda x: ops.reshape(x, (batch, choices, *ops.shape(x)[1:])), found
    )


def features_of(inputs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """The three tensors, each [B, T] int32, with defaults filled in."""
    if not isinstance(inputs, Mapping) or "input_ids" not in inputs:
        found = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs).__name__
        raise BadInput(f"inputs: found {found}, expected a dict with 'input_ids'")
    ids = ops.cast(ops.convert_to_tensor(inputs["input_ids"]), "int32")
    if len(ids.shape) != 2:
        raise BadInput(f"input_ids: found shape {tuple(ids.shape)}, expected [B, T]")

    def other(name: str, default: Any) -> Any:
        if inputs.get(name) is None:
            return default(ids)
        value = ops.cast(ops.convert_to_tensor(inputs[name]), "int32")
        sizes = zip(value.shape, ids.shape, strict=False)
        differ = any(None not in pair and pair[0] != pair[1] for pair in sizes)
        if len(value.shape) != 2 or differ:
            raise BadInput(
                f"{name}: found shape {tuple(value.shape)}, expected that of input_ids, "
                f"{tuple(ids.shape)}"
                + ("" if len(value.shape) == 2 else "; pass the 2-D mask, kbert expands it")
            )
        return value

    return ids, other("attention_mask", ops.ones_like), other("token_type_ids", ops.zeros_like)
