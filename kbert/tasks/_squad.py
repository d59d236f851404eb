"""SQuAD's metric, its null threshold, and the files of answers that go with them.

Sources: the official evaluation of SQuAD 1.1 (Rajpurkar et al. 2016) and of 2.0 (Rajpurkar et
al. 2018); for the files `run_squad.py` of google-research/bert.
"""

from __future__ import annotations

import collections
import json
import math
import os
import pathlib
import re
import string
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from kbert.errors import BadInput
from kbert.files import Unwritable, write_whole

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")

Scored = tuple[float, float]  # exact match and F1 of a question, 0 to 1


class Entry(NamedTuple):
    """One of the best answers to a question."""

    text: str
    start_logit: float
    end_logit: float


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation, then without articles, words split by one space."""
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def scores(
    predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]
) -> dict[str, float | int]:
    """By the rules of SQuAD 1.1.

    Args:
        predictions: id -> answer; ids without a gold are passed over.
        golds: id -> the texts that count as right, at least one.

    Returns:
        `exact_match` and `f1` in percent, means over `total` questions of the best over the
        golds; `missing` counts the questions without a prediction, which score 0. As in the
        official script an answer of no words has an F1 of 0, even against itself.

    Raises:
        BadInput: a question without a gold, which only SQuAD 2.0 has.
    """
    for name, texts in golds.items():
        if not texts:
            raise BadInput(f"question {name!r} has no answer, expected one; 2.0 may have none")
    found = scored(predictions, golds)
    return {
        "exact_match": _percent(found, golds, 0),
        "f1": _percent(found, golds, 1),
        "total": len(golds),
        "missing": len(golds) - len(found),
    }


def scores_by_answer(
    predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]
) -> dict[str, float | int]:
    """By the rules of SQuAD 2.0.

    Args:
        predictions: id -> answer, "" for none; ids without an entry in `golds` are passed over.
        golds: id -> the texts that count as right; none where the question has no answer.

    Returns:
        As `scores`; and `HasAns_exact`, `HasAns_f1`, `HasAns_total` over the questions that have
        an answer, `NoAns_…` over the others, each left out where there are no such questions. A
        missing prediction scores 0 also where "" would have been right.
    """
    found = _found(predictions, golds)
    result: dict[str, float | int] = {
        "exact_match": _percent(found, golds, 0),
        "f1": _percent(found, golds, 1),
        "total": len(golds),
        "missing": len(golds) - len(found),
    }
    for kind, answered in (("HasAns", True), ("NoAns", False)):
        names = [name for name, texts in golds.items() if bool(texts) == answered]
        if names:
            result[f"{kind}_exact"] = _percent(found, names, 0)
            result[f"{kind}_f1"] = _percent(found, names, 1)
            result[f"{kind}_total"] = len(names)
    return result


def best_thresholds(
    predictions: Mapping[str, str],
    golds: Mapping[str, Sequence[str]],
    null_odds: Mapping[str, float],
) -> dict[str, float]:
    """The null thresholds that score best on these questions, by the official rule of SQuAD 2.0.

    Questions go from "no answer" to their prediction one by one, the lowest odds first, those of
    equal odds in the order of `null_odds`. The first best score counts, also one between
    questions of equal odds; the threshold is the odds of the last one that was answered. If none
    answered is best, the threshold is 0, as the official script has it.

    Args:
        predictions: id -> the best answer that is not "no answer".
        golds: as `scores_by_answer` takes them.
        null_odds: id -> how much "no answer" is ahead of the prediction; above the threshold the
            question is not answered, nor is one without odds.

    Returns:
        `best_exact`, `best_f1` in percent, `best_exact_thresh`, `best_f1_thresh`.
    """
    found = _found(predictions, golds)
    order = sorted((name for name in null_odds if name in found), key=null_odds.__getitem__)
    result: dict[str, float] = {}
    for part, kind in enumerate(("exact", "f1")):
        score: float = sum(not golds[name] for name in found)
        best, threshold = score, 0.0
        for name in order:
            if golds[name]:
                score += found[name][part]
            elif predictions[name]:
                score -= 1
            if score > best:
                best, threshold = score, float(null_odds[name])
        result[f"best_{kind}"] = 100.0 * best / len(golds)
        result[f"best_{kind}_thresh"] = threshold
    return result


def scored(predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]) -> dict[str, Scored]:
    """Exact match and F1, 0 to 1, of each question that has a prediction.

    By the rules of 2.0 if a question has no gold, else by those of 1.1, as `scores` and
    `scores_by_answer` have them.
    """
    if not all(golds.values()):
        return _found(predictions, golds)
    return {
        name: _best(normalized(predictions[name]), [normalized(text) for text in texts])
        for name, texts in golds.items()
        if name in predictions
    }


def _found(predictions: Mapping[str, str], golds: Mapping[str, Sequence[str]]) -> dict[str, Scored]:
    """By the rules of 2.0: golds of no words do not count, and where none is left "" is right."""
    found: dict[str, Scored] = {}
    for name, texts in golds.items():
        if name in predictions:
            said = normalized(predictions[name])
            right = [text for text in map(normalized, texts) if text]
            found[name] = _best(said, right) if right else (float(not said), float(not said))
    return found


def _best(said: str, right: Sequence[str]) -> Scored:
    """Over the golds the best exact match and, apart from it, the best F1; all normalised."""
    counts = collections.Counter(said.split())
    return float(said in right), max(_f1(counts, collections.Counter(r.split())) for r in right)


def _f1(said: collections.Counter[str], right: collections.Counter[str]) -> float:
    """Of bags of words."""
    common = (said & right).total()
    if not common:
        return 0.0
    precision, recall = common / said.total(), common / right.total()
    return 2 * precision * recall / (precision + recall)


def _percent(found: Mapping[str, Scored], names: Collection[str], part: int) -> float:
    total = sum(found[name][part] for name in names if name in found)
    return 100.0 * total / len(names)


def write_official(
    folder: str | os.PathLike[str],
    predictions: Mapping[str, str],
    n_best: Mapping[str, Sequence[Entry | tuple[str, float, float]]],
    null_odds: Mapping[str, float] | None = None,
) -> None:
    """Writes predictions.json, nbest_predictions.json and, of SQuAD 2.0, null_odds.json.

    Args:
        folder: is made if it is not there.
        predictions: id -> the answer, "" for none.
        n_best: id -> its entries, best first. Their probabilities are the softmax of the sums of
            their logits. Without entries one of the prediction is written, as scripts expect one.
        null_odds: id -> how much "no answer" is ahead of the best other entry.

    Raises:
        BadInput: the folder is a file.
        Unwritable: the folder or a file cannot be made; files written before it are whole.
    """
    files: dict[str, Any] = {
        "predictions.json": dict(predictions),
        "nbest_predictions.json": {
            name: _entries([Entry(*entry) for entry in n_best[name]] or [Entry(text, 0.0, 0.0)])
            for name, text in predictions.items()
        },
    }
    if null_odds is not None:
        files["null_odds.json"] = {name: float(null_odds[name]) for name in predictions}
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file, expected a directory")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(folder, error.strerror or str(error)) from None
    for name, content in files.items():
        write_whole(folder / name, json.dumps(content, indent=4) + "\n")


def _entries(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    sums = [float(entry.start_logit) + float(entry.end_logit) for entry in entries]
    exps = [math.exp(value - max(sums)) for value in sums]
    return [
        {
            "text": entry.text,
            "probability": exp / sum(exps),
            "start_logit": float(entry.start_logit),
            "end_logit": float(entry.end_logit),
        }
        for entry, exp in zip(entries, exps, strict=True)
    ]
