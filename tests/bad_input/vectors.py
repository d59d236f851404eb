"""Sentence vectors: pairs, settings and files of sentence-transformers that are refused."""

import json
from typing import Any

from bad_input.place import Case, Maker, Place, evaluate, file, finetune, model, predict, rows

_TASK: dict[str, Any] = {"task": "embedding", "text": "a,b", "label": "score", "dev": None}
_TRAIN = finetune(train="{p}/train.jsonl", **_TASK)
_ROW = {"a": "It rains.", "b": "Rain falls.", "score": 4.5}
_ASKED = evaluate(model="{p}/model")
_TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
_POOLING = {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
_DENSE = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def _directory(modules: Any, pooling: Any = None, prompts: Any = None) -> tuple[Maker, ...]:
    """{p}/model with further files."""
    listed = modules if isinstance(modules, str) else json.dumps(modules)
    made = [model(modules_json=listed)]
    for name, content in (
        ("1_Pooling/config.json", pooling),
        ("config_sentence_transformers.json", prompts),
    ):
        if content is not None:
            made.append(file(f"model/{name}", json.dumps(content)))
    return tuple(made)


def _trained(place: Place) -> None:
    """{p}/vectors, a model of vectors."""
    import kbert

    kbert.load(place.models["start"], task="embedding").save(place.folder / "vectors")


CASES = [
    Case(
        "no_number_for_a_pair",
        "The label of a pair is no number.",
        "{p}/train.jsonl: line 1: found 'near', expected a finite number",
        "Give how near the texts are as a number; for pairs that are all near, without labels, "
        "`--options=loss=in_batch`.",
        _TRAIN,
        (rows({**_ROW, "score": "near"}),),
    ),
    Case(
        "no_label_for_a_pair",
        "There is no column of labels.",
        "{p}/train.jsonl: no column 'score'; known: 'a', 'b'",
        "As above.",
        _TRAIN,
        (rows({"a": "It rains.", "b": "Rain falls."}),),
    ),
    Case(
        "no_column_of_second_texts",
        "The column of the second texts has another name.",
        "{p}/train.jsonl: no column 'b'; known: 'a', 'other', 'score'",
        "Correct `--text=A,B`.",
        _TRAIN,
        (rows({"a": "It rains.", "other": "Rain falls.", "score": 1}),),
    ),
    Case(
        "single_texts_for_vectors",
        "`--text` names one column; vectors are learned from pairs.",
        "{p}/train.jsonl: found single texts, expected pairs (--text=A,B)",
        "Name both columns.",
        finetune(train="{p}/train.jsonl", **{**_TASK, "text": "a"}),
        (rows(_ROW),),
    ),
    Case(
        "three_texts_with_labels",
        "`--text` names three columns, and the loss is that of labelled pairs.",
        "{p}/train.jsonl: found a third text a row, which --options=loss=in_batch takes",
        "Name two columns, or add that option.",
        finetune(train="{p}/train.jsonl", **{**_TASK, "text": "a,b,a"}),
        (rows(_ROW),),
    ),
    Case(
        "unknown_pooling",
        "`--options=pooling` names no way to pool.",
        "--options: pooling: unknown 'maen'; did you mean 'mean', 'max'?",
        "Take one that is suggested.",
        finetune(train="{p}/train.jsonl", options="pooling=maen", **_TASK),
        (rows(_ROW),),
    ),
    Case(
        "unknown_loss_of_pairs",
        "`--options=loss` names no loss.",
        "--options: loss: unknown 'inbatch'; did you mean 'in_batch'?",
        "`cosine` or `in_batch`.",
        finetune(train="{p}/train.jsonl", options="loss=inbatch", **_TASK),
        (rows(_ROW),),
    ),
    Case(
        "a_column_of_second_texts_to_compare",
        "`--signature=similarity` compares two texts a row; the input has one.",
        "{p}/dev.tsv: no column 'text_pair'; did you mean 'text'?",
        "Name both columns by `--text=A,B`.",
        predict(model="{p}/vectors", signature="similarity", text=None),
        (_trained, file("dev.tsv", "text\ttopic\na\tb\n")),
    ),
    Case(
        "modules_that_cannot_be_read",
        "`modules.json` of a sentence-transformers directory is damaged.",
        "{p}/model/modules.json: line 1: not JSON: Expecting value",
        "Get it again, or delete it: then `--task=embedding` takes the mean of all tokens.",
        _ASKED,
        _directory("[,"),
    ),
    Case(
        "a_module_that_kbert_has_not",
        "The model has a further layer behind the pooling.",
        "{p}/model/modules.json: found the module 'Dense', kbert has Transformer, Pooling, "
        "Normalize only",
        "Take a model without it. For other tasks, `kbert finetune --task=...` reads its encoder.",
        _ASKED,
        _directory([_TRANSFORMER, _POOLING, _DENSE]),
    ),
    Case(
        "a_pooling_that_kbert_has_not",
        "The model pools in another way.",
        "{p}/model/1_Pooling/config.json: found the pooling 'weightedmean', kbert has mean, cls, "
        "max, mean_sqrt_len_tokens only",
        "Take a model that pools in one of these ways.",
        _ASKED,
        _directory([_TRANSFORMER, _POOLING], {"pooling_mode": "weightedmean"}),
    ),
    Case(
        "words_before_every_text",
        "The words that are put before every text do not stand among the model's prompts.",
        "{p}/model/config_sentence_transformers.json: default_prompt_name: found 'question', "
        "which is none of `prompts`; known: 'q'",
        "Name one of them, or null for none.",
        _ASKED,
        _directory(
            [_TRANSFORMER, _POOLING],
            {"pooling_mode": "mean"},
            {"prompts": {"q": "query: "}, "default_prompt_name": "question"},
        ),
    ),
]
