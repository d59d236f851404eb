"""A tag for each word: named entities (Devlin et al. 5.3).

A word's tag is read at its first piece, in training and in answers; its other pieces count
nothing. Long texts are cut in windows that overlap, and each word is read where it has most
context. Words are those of the data, or, of a text as it is sent, those of `kbert.text.words`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from kbert.config import EncoderConfig
from kbert.data.fields import fields_of
from kbert.data.table import Table
from kbert.errors import BadInput, nearest
from kbert.layers.heads import Classifier
from kbert.tasks import Rows, Task, Tensors, _tags
from kbert.tasks import _documents as documents
from kbert.tasks._entities import (
    Gold,
    are_spans,
    as_lines,
    count_words,
    kinds_in,
    listed,
    sides,
    wanted_tags,
)
from kbert.tasks._entity_rows import draw, rows_of_errors

# texts that are tokenized at once before a training
_SOME = 256
_CONTEXTS = ("sentence", "document")
# windows of a document that a row of a training may be cut from, which tokenizes all of it
_PART = 16


class TokenClassification(Task):
    """K logits for each token.

    A row has `text`, a text as it is sent, or `words`, one a line. In data the label of words is a
    list of tags, one a word; that of a text a list of objects with `start`, `end` (characters) and
    `label`.

    Settings:
        doc_stride: how many tokens further on the next window begins; 0 is half of a window.
        context: "sentence", or "document": words are read with the sentences around them, as far
            as a window reaches, those of the same `document`.
        frozen: the encoder stays as it is, and a BiLSTM (`kbert.layers.tagger`) reads it.
        layers: of which layers, see `kbert.layers.states`.
        lstm_width: how wide that is, both directions together.
        viterbi: the tags of a text are the best sequence of BIO, and not each word's best, which
            may go on with an entity that never began. A new head has it; one that was trained
            elsewhere may mean such tags (IOB1), and has not.
    """

    name = "token_classification"
    inputs = ("text",)
    needs: tuple[str, ...] = ("sequence_output",)
    best = "f1"
    # WNUT-17 from MiniLM, each word's best tag: F1 0.540, 0.559, 0.544; 0.512, 0.508 in BERT's form
    recipe = {"text": ("words",), "label": "tags", "optimizer": "adamw"}
    head_kind = "token_classification"
    pipeline_tag = "token-classification"
    settings = {
        **{"doc_stride": 0, "context": "sentence"},
        **{"frozen": False, "layers": "last4_concat", "lstm_width": 768, "viterbi": False},
    }
    new_settings = {"viterbi": True}
    windows = True
    reads_all = True
    figure = "entities"
    signatures = {"words": {"words": 2}}

    def summary(self, labels: Sequence[str]) -> str:
        """Entities of the types."""
        kinds = dict.fromkeys(label[2:] for label in labels if label != "O")
        return f"the entities of {len(kinds)} types: {', '.join(f'`{kind}`' for kind in kinds)}"

    def bound(self, options: Mapping[str, Any]) -> Task:
        """See `Task`."""
        from kbert.tasks._frozen import FrozenTagger

        return FrozenTagger(options) if self.own(options)["frozen"] else self

    def settings_of(self, pairs: Sequence[str]) -> dict[str, Any]:
        """See `Task`."""
        found = super().settings_of(pairs)
        if (context := found.get("context", "sentence")) not in _CONTEXTS:
            raise BadInput(f"--options: context: unknown {context!r}{nearest(context, _CONTEXTS)}")
        if (stride := found.get("doc_stride", 0)) < 0:
            raise BadInput(f"--options: doc_stride: found {stride}, expected at least 0")
        return found

    # what the data say ------------------------------------------------------------------

    def texts(self, table: Table, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """`text`, or `words` where the column holds lists of words, and their `document`."""
        (column,) = columns.values()
        values = table.column(column)
        if not any(isinstance(value, (list, tuple, np.ndarray)) for value in values):
            return {"text": table.texts(column)}
        places = [f"{table.where}: {table.unit} {line}: {column}" for line in table.lines]
        more = {"document": list(table.columns["document"])} if "document" in table.columns else {}
        return {"words": as_lines(values, places), **more}

    def shown(self, fields: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[Any]]:
        """Words as lists."""
        if "words" not in fields:
            return fields
        return {"text": [lines.split("\n") if lines else [] for lines in fields["words"]]}

    def given(self, x: Any, columns: Mapping[str, str]) -> dict[str, list[str]]:
        """`text`, or `words` of lists of words; a column of either name or of the trained one.

        With words there may be a `document`, of which a row is.
        """
        values, by_name = x, isinstance(x, Mapping) or hasattr(x, "columns")
        if by_name:
            names = ("words", columns.get("text", "text"), "text")
            values = next((x[name] for name in names if name in x), ())
        if isinstance(values, (str, bytes)):
            return fields_of(x, self.inputs, columns)
        values = list(values)
        if not any(isinstance(value, (list, tuple, np.ndarray)) for value in values):
            return fields_of(x if by_name else values, self.inputs, columns)
        found = {"words": as_lines(values, [f"words: row {i}" for i in range(len(values))])}
        if by_name and "document" in x:
            found["document"] = list(x["document"])
            if len(found["document"]) != len(values):
                sizes = {name: len(column) for name, column in found.items()}
                raise BadInput(f"columns of unequal length: {sizes}")
        return found

    def check_labels(self, values: Sequence[Any], where: str, lines: Sequence[int]) -> None:
        """Refuses tags of no scheme, or of several."""
        rows = [listed(value) for value in values]
        if not are_spans(rows):
            _tags.scheme_of(rows, where, list(lines)[: len(rows)])

    def labels_of(self, values: Sequence[Any]) -> tuple[str, ...]:
        """O, then B-x and I-x for each type x that occurs, sorted."""
        rows = [listed(value) for value in values]
        if are_spans(rows):
            rows = [[f"B-{kind}" for kind in kinds_in(row)] for row in rows]
        return _tags.labels_of(rows)

    def targets(
        self, values: Sequence[Any], labels: Sequence[str], where: str, lines: Sequence[int]
    ) -> np.ndarray:
        """[R] `Gold`, of lists of tags of any scheme or of lists of spans."""
        ids = {label: i for i, label in enumerate(labels)}
        kinds = sorted({label[2:] for label in labels if label != "O"})
        if set(ids) != {"O", *(f"{letter}-{kind}" for kind in kinds for letter in "BI")}:
            raise BadInput(
                f"labels: found {', '.join(labels)}, expected O, and B- and I- with each type"
            )
        rows, lines = [listed(value) for value in values], list(lines)[: len(values)]
        spans = are_spans(rows)
        scheme = "" if spans else _tags.scheme_of(rows, where, lines)
        found = np.empty(len(rows), object)
        for row, value in enumerate(rows):
            for i, kind in enumerate(kinds_in(value)):
                if kind and kind not in kinds:
                    line = lines[row] if spans else _tags.line_of(rows, lines, row, i)
                    raise BadInput(
                        f"{where}: line {line}: unknown label {kind!r}{nearest(kind, kinds)}"
                    )
            tags = [] if spans else [ids[tag] for tag in _tags.to_bio(value, scheme)]
            found[row] = Gold(tuple(labels), tags, value if spans else [])
        return found

    def check_rows(
        self,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        where: str,
        lines: Sequence[int],
    ) -> None:
        """As many tags as words; spans that lie in their text, then without white space around."""
        texts = "words" not in fields
        column = fields["text" if texts else "words"]
        for row, (gold, strings) in enumerate(zip(targets, column, strict=True)):
            place = f"{where}: line {lines[row]}"
            if gold.tags if texts else gold.spans:
                found, wanted = (
                    ("tags and a text", "words as a list of strings, or entities of the text")
                    if texts
                    else ("entities and a list of words", "a tag for each word, or a text")
                )
                raise BadInput(f"{place}: found {found}, expected {wanted}")
            if texts:
                cut = _tags.rows_of_spans(strings, gold.spans, where, lines[row])
                spans = []
                for kind, first, past in _tags.entities(cut.tags):
                    start, end = cut.starts[first], cut.ends[past - 1]
                    said = {"text": strings[start:end], "label": kind}
                    spans.append({**said, "start": start, "end": end})
                targets[row] = gold._replace(spans=spans)
            elif (words := count_words(strings)) != len(gold.tags):
                raise BadInput(
                    f"{place}: found {words} words and {len(gold.tags)} tags, expected as many"
                )

    # from text to logits ----------------------------------------------------------------

    def preprocess(
        self,
        tokenizer: Any,
        fields: Tensors,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """All windows of all rows, and which tokens begin a word.

        Of `fields`, `words` may also be [R, V] string, padded with "".
        """
        import tensorflow as tf

        from kbert.text.windows import Layout, windows
        from kbert.text.words import words_of

        words: Any = None
        if "words" in fields:
            words = fields["words"]
            if words.shape.rank == 1:
                text, words = words, tf.strings.split(words, "\n").to_tensor("")
            else:
                single = tf.strings.regex_replace(words, "\n", " ")
                text = tf.strings.reduce_join(single, axis=1, separator="\n")
        else:
            text = fields["text"]
        tokens = tokenizer(text)
        stride = self.own(options)["doc_stride"] or max((max_length - 2) // 2, 1)
        found = windows(
            None,
            tokens.ids,
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            pad_id=tokenizer.pad_id,
            layout=Layout(max_length, stride),
            chosen=fields.get("window"),
            length=length,
        )
        splits = tokens.ids.row_splits
        starts, ends = tokens.starts.flat_values, tokens.ends.flat_values
        cut = words_of(text, splits, starts, ends, lines=words is not None)
        more = {"splits": splits, "starts": starts, "ends": ends, "begins": cut.begins}
        if words is None:
            return {**found, **more, "text": text}
        return {**found, **more, "line": cut.line, "words": words}

    def rows(
        self,
        tokenizer: Any,
        fields: Mapping[str, Sequence[str]],
        targets: np.ndarray,
        max_length: int,
        options: Mapping[str, Any] | None = None,
    ) -> Rows:
        """A row for each window in which a word is read.

        Targets are the ids of tags at the first tokens of these words, -1 elsewhere, [R,
        max_length] int32.
        """
        import tensorflow as tf

        from kbert.text.entities import reading

        if self.own(options)["context"] == "document":
            if not {"words", "document"} <= set(fields):
                raise BadInput(
                    "context=document: the training rows have no column 'document' beside words "
                    "(in a .conll file: no line -DOCSTART-), expected which document each is of"
                )
            parts = documents.parts_of(fields, _PART * max_length)
            targets = documents.joined_golds(targets, parts)
            fields = documents.joined(fields["words"], parts)
        fields = {name: values for name, values in fields.items() if name != "document"}
        found: list[tuple[Any, ...]] = []
        for first in range(0, len(targets), _SOME):
            part = {k: tf.constant(list(v[first : first + _SOME])) for k, v in fields.items()}
            features = self.preprocess(tokenizer, part, max_length, max_length, options)
            tokens, read = (x.numpy() for x in reading(features))
            wanted = wanted_tags(targets[first : first + _SOME], part, features)
            row = features["row"].numpy()
            window = np.arange(len(row)) - np.searchsorted(row, row)
            aims = np.where(read, np.append(wanted, -1)[tokens], -1).astype(np.int32)
            length = features["attention_mask"].numpy().sum(axis=1, dtype=np.int32)
            chosen = read.any(axis=1)
            found.append(tuple(x[chosen] for x in (row + first, window, aims, length)))
        row, window, aims, length = (np.concatenate(x) for x in zip(*found, strict=True))
        if not len(row):
            raise BadInput("found no word in any row to train on")
        cut = {name: [values[i] for i in row] for name, values in fields.items()}
        return Rows({**cut, "window": window.astype(np.int32)}, aims, length)

    def batch(
        self,
        tokenizer: Any,
        fields: Tensors,
        targets: Any,
        max_length: int,
        length: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Tensors, Any]:
        """Targets are cut, or filled up with -1, to the width of the features."""
        import tensorflow as tf

        features = self.preprocess(tokenizer, fields, max_length, length, options)
        width = tf.shape(features["input_ids"])[1]
        more = tf.maximum(width - tf.shape(targets)[1], 0)
        aims = tf.pad(targets, [[0, 0], [0, more]], constant_values=-1)[:, :width]
        return features, tf.ensure_shape(aims, features["input_ids"].shape)

    def head(self, config: EncoderConfig, labels: int, seed: int) -> Classifier:
        """Dropout and one dense layer."""
        return Classifier(config, labels, seed)

    def loss(self, logits: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
        """Cross-entropy summed over the first tokens of words; how many there are."""
        rows = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
        hot = ops.one_hot(ops.maximum(targets, 0), ops.shape(logits)[-1], dtype="float32")
        counted = ops.cast(targets >= 0, "float32") * weights[:, None]
        return -ops.sum(counted * ops.sum(rows * hot, axis=-1)), ops.sum(counted)

    def metrics(self) -> list[Any]:
        """None: what counts are entities."""
        return []

    # from logits to answers -------------------------------------------------------------

    def answered(
        self, answer: Any, fields: Mapping[str, Sequence[Any]], options: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """See `Task`; sentences of a document are asked together, if that is their context."""
        asked = {name: values for name, values in fields.items() if name != "document"}
        whole = self.own(options)["context"] == "document" and {"words", "document"} <= set(fields)
        if not whole or not len(fields["words"]):
            return answer(asked, None)
        parts = documents.parts_of(fields)
        answers = answer(documents.joined(fields["words"], parts), [len(part) for part in parts])
        return documents.parted(answers, fields["words"], parts)

    def decode(
        self,
        logits: Any,
        labels: Sequence[str],
        options: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
    ) -> Tensors:
        """The entities of a text, or the tags of words.

        Of a text: `count` [B] int32, how many there are; padded to the most that a row has, and
        at least one, [B, E]: `entity_text` and `entity_label` string, `entity_start` and
        `entity_end` (characters), `entity_byte_start` and `entity_byte_end` int32, `entity_score`
        float32 (the mean probability of the words' tags). Of words: `words` [B, V] as given, and
        `tags` string and `tag_score` float32 beside them.
        """
        from kbert.text import entities

        assert features is not None
        words = entities.tagged(logits, features, labels, self.own(options)["viterbi"])
        if "words" not in features:
            return entities.entities(words, features, labels)
        return {"words": features["words"], **entities.tags(words, features, labels)}

    def plain(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """`entities`, a list of objects; of words the columns without what fills them up."""
        found: list[dict[str, Any]] = []
        for row in rows:
            if "tags" in row:
                number = sum(word != "" for word in row["words"])
                found.append({name: values[:number] for name, values in row.items()})
                continue
            columns = [(k.removeprefix("entity_"), v) for k, v in row.items() if k != "count"]
            every = [{name: v[i] for name, v in columns} for i in range(row["count"])]
            found.append({"entities": every})
        return found

    def evaluate(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, float]:
        """`precision`, `recall` and `f1` of entities, as seqeval and conlleval have them."""
        return _tags.scores(*sides(answers, targets))

    def breakdown(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Any]:
        """The same for each type, with the number of its entities."""
        return {"per_type": _tags.scores_by_type(*sides(answers, targets))}

    def errors(
        self, answers: Mapping[str, np.ndarray], targets: np.ndarray, labels: Sequence[str]
    ) -> dict[str, Sequence[Any]]:
        """A row is wrong where entities are `missed` or `extra`; `loss` is how many."""
        return rows_of_errors(answers, targets)

    def plot(
        self,
        axes: Any,
        answers: Mapping[str, np.ndarray],
        targets: np.ndarray,
        labels: Sequence[str],
    ) -> None:
        """F1, precision and recall of each type."""
        draw(axes, _tags.scores_by_type(*sides(answers, targets)))


TASK = TokenClassification()
