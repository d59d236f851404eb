"""Rows from left to right, and packed ones, against those of the plain source."""

import numpy as np
import pytest

from kbert.config import AttentionConfig, DropoutConfig, EmbeddingConfig, EncoderConfig
from kbert.encoder import Encoder
from kbert.model import TextModel
from kbert.objectives.masking import MaskingOptions
from kbert.objectives.pairing import PairingOptions
from kbert.pretrain.evaluation import evaluate
from kbert.pretrain.sources import CorpusSource
from kbert.pretrain.variants import LeftToRightSource, PackedSource, packed
from kbert.tasks.pretraining import PACKED, WITHOUT_PAIRS

ONE_TEXT = PairingOptions(max_seq_length=64, next_sentence=False, short_seq_prob=0.5)
MASKING = MaskingOptions(max_predictions_per_seq=10)


def source(kind, store, tokenizer, pairing=ONE_TEXT):
    return kind(store, tokenizer, pairing, MASKING, 3)


def test_left_to_right_asks_for_every_token_but_the_first(toy_store, toy_tokenizer):
    plain = source(CorpusSource, toy_store, toy_tokenizer)
    made = source(LeftToRightSource, toy_store, toy_tokenizer)
    assert (made.predictions, made.rows(0)) == (63, plain.rows(0))
    rows = np.arange(plain.rows(0))
    before, batch = plain.batch(0, rows), made.batch(0, rows)
    ids = before["input_ids"].copy()
    row, column = np.nonzero(before["masked_lm_ids"] >= 0)
    ids[row, before["masked_positions"][row, column]] = before["masked_lm_ids"][row, column]
    # nothing is masked
    assert np.array_equal(batch["input_ids"], ids)
    assert toy_tokenizer.mask_id not in batch["input_ids"]
    lengths = batch["attention_mask"].sum(1)
    for i, length in enumerate(lengths):
        assert batch["masked_positions"][i, : length - 1].tolist() == list(range(length - 1))
        assert batch["masked_lm_ids"][i, : length - 1].tolist() == ids[i, 1:length].tolist()
        assert set(batch["masked_lm_ids"][i, length - 1 :]) <= {-1}


def test_packs_hold_each_text_once_with_its_own_masks(toy_store, toy_tokenizer):
    plain = source(CorpusSource, toy_store, toy_tokenizer)
    made = source(PackedSource, toy_store, toy_tokenizer)
    rows = made.rows(1)
    assert rows < plain.rows(1) * 0.7
    batch = made.batch(1, np.arange(rows))
    whole = plain.batch(1, np.arange(plain.rows(1)))
    # in all as full as can be: the last pack of a window alone may have room
    assert batch["attention_mask"][:-1].astype(bool).mean() > 0.95
    texts = []
    for i in range(rows):
        numbers = batch["attention_mask"][i]
        count = numbers.max()
        assert set(numbers) - {0} == set(range(1, count + 1))
        known = batch["masked_lm_ids"][i] >= 0
        places = batch["masked_positions"][i][known]
        assert (np.diff(places) > 0).all()
        for number in range(1, count + 1):
            (inside,) = np.nonzero(numbers == number)
            assert (np.diff(inside) == 1).all()
            its = np.isin(places, inside)
            texts.append(
                (
                    batch["input_ids"][i, inside].tolist(),
                    (places[its] - inside[0]).tolist(),
                    batch["masked_lm_ids"][i][known][its].tolist(),
                )
            )
    expected = []
    for i, length in enumerate(whole["attention_mask"].sum(1)):
        known = whole["masked_lm_ids"][i] >= 0
        places, labels = whole["masked_positions"][i][known], whole["masked_lm_ids"][i][known]
        expected.append((whole["input_ids"][i, :length].tolist(), places.tolist(), labels.tolist()))
    assert sorted(texts) == sorted(expected)
    again = made.batch(1, np.array([2, 0]))
    assert np.array_equal(again["input_ids"], batch["input_ids"][[2, 0]])


def test_the_loss_of_packed_texts_is_that_of_texts_alone(toy_store, toy_tokenizer):
    config = EncoderConfig(
        family="bert",
        hidden_size=16,
        num_hidden_layers=2,
        intermediate_size=32,
        embedding=EmbeddingConfig(toy_tokenizer.vocab_size, 64),
        attention=AttentionConfig(2),
        dropout=DropoutConfig(0.0, 0.0),
        initializer_range=0.3,
        pooler=False,
    )
    found = []
    for task, kind in ((WITHOUT_PAIRS, CorpusSource), (PACKED, PackedSource)):
        model = TextModel(Encoder(config, 1), task, task.own_labels, toy_tokenizer, max_length=64)
        found.append(evaluate(model, source(kind, toy_store, toy_tokenizer), batch_size=16))
    alone, together = found
    assert together["rows"] < alone["rows"]
    assert together["masked_lm_loss"] == pytest.approx(alone["masked_lm_loss"], abs=1e-5)
    assert together["masked_lm_accuracy"] == pytest.approx(alone["masked_lm_accuracy"], abs=1e-6)
    assert alone["perplexity"] == pytest.approx(np.exp(alone["masked_lm_loss"]))
    # another one than that of tokens which see their neighbours
    model = TextModel(
        Encoder(config, 1), WITHOUT_PAIRS, WITHOUT_PAIRS.own_labels, toy_tokenizer, max_length=64
    )
    blurred = evaluate(model, source(PackedSource, toy_store, toy_tokenizer), batch_size=16)
    assert abs(blurred["masked_lm_loss"] - alone["masked_lm_loss"]) > 3e-4


def test_packing_keeps_to_room_and_budget():
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 33, 500)
    masks = np.maximum(1, sizes * 3 // 10)
    packs = packed(np.arange(500), sizes, masks, 32, 9)
    assert sorted(row for pack in packs for row in pack) == list(range(500))
    assert max(sizes[pack].sum() for pack in packs) == 32
    assert max(masks[pack].sum() for pack in packs) <= 9
