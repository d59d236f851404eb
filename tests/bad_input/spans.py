"""Tags, entities and answers that are refused."""

from typing import Any

from bad_input.place import Case, Command, Maker, file, finetune, rows

_TAGS = "Correct the tag: O, or a letter of IOB1, BIO, BIOES, BILOU or BMES, a hyphen and the type."
_GOOD = "The O\nTate B-place\nGallery I-place\n\nin O\nLondon B-place\n"


def _entities(**given: Any) -> Command:
    usual = {"task": "token_classification", "text": None, "label": None}
    return finetune(**{**usual, "train": "{p}/train.conll", "dev": "{p}/dev.conll", **given})


def _columns(name: str = "dev", spoilt: tuple[str, str] = ("", "")) -> tuple[Maker, ...]:
    """Column files, of which one is spoilt."""
    other = "train" if name == "dev" else "dev"
    return file(f"{name}.conll", _GOOD.replace(*spoilt)), file(f"{other}.conll", _GOOD)


def _texts(*entities: Any, text: str = "Ada met Bo") -> dict[str, Any]:
    """A text with its entities, as a file of one row; and the flags that read it."""
    return {
        "command": _entities(
            train="{p}/train.jsonl", dev=None, text="text", label="entities", labels="O,B-x,I-x"
        ),
        "make": (rows({"text": text, "entities": list(entities)}),),
    }


def _span(start: Any, end: Any, label: Any = "x") -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}


def _answers(*answers: Any, **columns: Any) -> dict[str, Any]:
    """A question with its answers, as a file of one row; and the flags that read it."""
    row = {"question": "Who?", "context": "Ada met Bo", "answers": list(answers), **columns}
    command = _entities(task="span_extraction", train="{p}/train.jsonl", dev=None)
    return {"command": command, "make": (rows(row),)}


CASES = [
    Case(
        "a_tag_without_a_prefix",
        "A tag is a type alone.",
        "{p}/train.conll: line 2: tag 2 of 3: found 'place', expected O, or a prefix and a type; "
        "did you mean 'I-place', 'B-place'?",
        _TAGS,
        _entities(),
        _columns("train", ("B-place", "place")),
    ),
    Case(
        "a_zero_for_an_o",
        "A tag is the digit 0.",
        "{p}/train.conll: line 1: tag 1 of 3: found '0', expected O, or a prefix and a type; "
        "known: 'O', 'B-place', 'I-place'",
        _TAGS,
        _entities(),
        _columns("train", ("The O", "The 0")),
    ),
    Case(
        "tags_of_two_schemes",
        "Tags of one file are of several schemes.",
        "{p}/train.conll: line 3: tag 3 of 3: found 'L-place', expected BIOES as in the tags "
        "before it; did you mean 'S-place', 'I-place', 'E-place'?",
        "Bring all rows to one scheme.",
        _entities(),
        (
            file("train.conll", "The S-place\nTate B-place\nGallery L-place\n"),
            file("dev.conll", _GOOD),
        ),
    ),
    Case(
        "an_entity_of_an_unknown_type",
        "A dev row has an entity of a type that no training row has.",
        "{p}/dev.conll: line 2: unknown label 'palce'; did you mean 'place'?",
        "Correct the type, or give all types by `--labels=O,B-x,I-x,...`.",
        _entities(),
        _columns("dev", ("B-place", "B-palce")),
    ),
    Case(
        "labels_that_are_types",
        "`--labels` lists types, not tags.",
        "labels: found place, expected O, and B- and I- with each type",
        "Give `--labels=O,B-place,I-place`.",
        _entities(labels="place"),
        _columns(),
    ),
    Case(
        "more_words_than_tags",
        "A row has fewer tags than words.",
        "{p}/train.jsonl: line 1: found 2 words and 1 tags, expected as many",
        "Give each word its tag, O where it is of no entity.",
        _entities(train="{p}/train.jsonl", dev=None, labels="O,B-x,I-x"),
        (rows({"words": ["Ada", "met"], "tags": ["B-x"]}),),
    ),
    Case(
        "words_that_are_a_text",
        "A text has tags, not entities.",
        "{p}/train.jsonl: line 1: found tags and a text, expected words as a list of strings, or "
        "entities of the text",
        "Split the text into words, one for each tag.",
        _entities(train="{p}/train.jsonl", dev=None, labels="O,B-x,I-x"),
        (rows({"words": "Ada met", "tags": ["B-x", "O"]}),),
    ),
    Case(
        "a_word_that_is_empty",
        "A word is an empty string.",
        "{p}/train.jsonl: line 1: words: found '', expected a word",
        "Leave the word and its tag out.",
        _entities(train="{p}/train.jsonl", dev=None, labels="O,B-x,I-x"),
        (rows({"words": ["Ada", ""], "tags": ["B-x", "O"]}),),
    ),
    Case(
        "entities_that_overlap",
        "Two entities of a text overlap.",
        "{p}/train.jsonl: line 1: entities: 'met Bo' at 4 overlaps the one before it, which ends "
        "at 7",
        "Keep one of them: a word has one tag.",
        **_texts(_span(0, 7), _span(4, 10)),
    ),
    Case(
        "an_entity_outside_the_text",
        "An entity ends behind its text.",
        "{p}/train.jsonl: line 1: entities[0]: found start 8 and end 11, expected 0 <= start < end "
        "<= 10, the length of the text",
        "Count characters, not bytes; the end is the first one that is not of the entity.",
        **_texts(_span(8, 11)),
    ),
    Case(
        "an_entity_of_blanks",
        "An entity holds white space alone.",
        "{p}/train.jsonl: line 1: entities[0]: found white space alone from 3 to 4, expected words",
        "Correct its start and end.",
        **_texts(_span(3, 4)),
    ),
    Case(
        "an_entity_without_its_end",
        "An entity lacks a key.",
        "{p}/train.jsonl: line 1: entities[0]: no key 'end'; known: 'start', 'label'",
        'Give each `{"start": ..., "end": ..., "label": ...}`.',
        **_texts({"start": 0, "label": "x"}),
    ),
    Case(
        "an_entity_whose_start_is_no_number",
        "A start or an end is no whole number.",
        "{p}/train.jsonl: line 1: entities[0]: start: found '0', expected a number of characters",
        "Write it as a number.",
        **_texts(_span("0", 3)),
    ),
    Case(
        "documents_that_are_not_marked",
        "`--context=document` is given, and the training rows name no documents.",
        "context=document: the training rows have no column 'document' beside words (in a .conll "
        "file: no line -DOCSTART-), expected which document each is of",
        "Mark them, or leave `--context` out.",
        _entities(context="document"),
        _columns(),
    ),
    Case(
        "a_context_that_is_none",
        "`--context` is neither sentence nor document.",
        "--options: context: unknown 'documents'; did you mean 'document'?",
        "Give one of the two.",
        _entities(context="documents"),
        _columns(),
    ),
    Case(
        "a_context_of_another_task",
        "`--context` is given to a task that has no documents.",
        "--context: the task classification takes none",
        "Leave it out; it is of `token_classification`.",
        finetune(context="document"),
    ),
    Case(
        "an_answer_of_a_row_that_is_elsewhere",
        "An answer does not stand where its `answer_start` says.",
        "{p}/train.jsonl: line 1: found 'met' at character 4 of the context, expected the answer "
        "'Ada'",
        "Correct the start; it counts characters of the context from 0.",
        **_answers({"text": "Ada", "answer_start": 4}),
    ),
    Case(
        "an_answer_without_its_place",
        "An answer is a text alone.",
        "{p}/train.jsonl: line 1: answers: found 'Ada', expected text and answer_start "
        "(characters)",
        'Give each `{"text": ..., "answer_start": ...}`.',
        **_answers("Ada"),
    ),
    Case(
        "a_question_without_a_context",
        "Rows to answer lack the column of the context.",
        "{p}/train.jsonl: no column 'context'; did you mean 'contxt'?",
        "Name it by `--text=QUESTION,CONTEXT`.",
        _entities(task="span_extraction", train="{p}/train.jsonl", dev=None),
        (rows({"question": "Who?", "contxt": "Ada", "answers": []}),),
    ),
]
