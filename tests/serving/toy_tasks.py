"""A small model of every task, taught a few rows by heart, and what it is asked when served.

python tests/serving/toy_tasks.py FOLDER writes the requests and answers of export/requests anew;
FOLDER is a model directory, of `tiny_model`.
"""

import json
import pathlib
import sys
import urllib.request
from typing import Any, NamedTuple

REQUESTS = pathlib.Path(__file__).parents[2] / "export" / "requests"

TEXTS = [
    "The tap drips and the cellar is flooded.",
    "May I renew two novels?",
    "A deep pothole has opened on the bridge.",
    "The water in the reading room is brown.",
]
CONTEXT = "The library on Mill Road opens at nine. The pool in the park opens at noon."
CHOICES = [["the tap", "a novel"], ["a library", "a deep pothole", "two books"]]


class Toy(NamedTuple):
    """What a task is taught and asked.

    Attributes:
        x, y: for `fit`; None is left as it was made.
        labels: of the model.
        calls: signature -> rows of `instances`.
        load: further arguments of `kbert.load`.
    """

    x: Any
    y: Any
    calls: dict[str, list[dict[str, Any]]]
    labels: Any = None
    load: dict[str, Any] = {}


def rows(**columns):
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


TOYS = {
    "classification": Toy(
        TEXTS,
        ["water", "library", "roads", "water"],
        {"serving_default": rows(text=TEXTS[:2])},
        ["library", "roads", "water"],
    ),
    "regression": Toy(TEXTS, [4.0, 1.0, 5.0, 3.0], {"serving_default": rows(text=TEXTS[:2])}),
    "multi_label": Toy(
        TEXTS,
        ["water", "library", "roads", "library|water"],
        {"serving_default": rows(text=TEXTS[2:])},
        ["library", "roads", "water"],
    ),
    "span_extraction": Toy(
        {
            "question": ["When does the library open?", "When does the pool open?"],
            "context": [CONTEXT, CONTEXT],
        },
        [
            [{"text": "nine", "answer_start": CONTEXT.index("nine")}],
            [{"text": "noon", "answer_start": CONTEXT.index("noon")}],
        ],
        {
            "serving_default": rows(question=["When does the pool open?"], context=[CONTEXT]),
            "with_null_threshold": rows(
                question=["When does the pool open?"], context=[CONTEXT], null_threshold=[-1000.0]
            ),
        },
        load={"options": {"n_best": 3}},
    ),
    "token_classification": Toy(
        ["The library on Mill Road is open.", "A pothole has opened on Park Lane."],
        [
            [{"start": 15, "end": 24, "label": "street"}],
            [{"start": 24, "end": 33, "label": "street"}],
        ],
        {
            "serving_default": rows(text=["The library on Mill Road is open."]),
            "words": rows(words=[["on", "Park", "Lane"]]),
        },
        ["O", "B-street", "I-street"],
    ),
    "multiple_choice": Toy(
        {"context": ["What drips?", "What has opened on the bridge?"], "choices": CHOICES},
        [0, 1],
        {
            "serving_default": rows(
                context=["What drips?", "What has opened on the bridge?"],
                choices=[[*CHOICES[0], ""], CHOICES[1]],
            )
        },
    ),
    "embedding": Toy(
        None,
        None,
        {
            "serving_default": rows(text=TEXTS[:1]),
            "similarity": rows(text=TEXTS[:2], text_pair=TEXTS[2:]),
        },
    ),
    "masked_lm": Toy(
        ["The [MASK] drips.", "A deep [MASK] has opened."],
        ["tap", "pothole"],
        {
            "serving_default": rows(text=["The [MASK] drips."]),
            "pseudo_log_likelihood": rows(text=["The tap drips."]),
        },
        load={"allow_missing": ["masked_lm/"]},
    ),
    "pretraining": Toy(
        ["The [MASK] drips.", "A deep [MASK] has opened."],
        ["tap", "pothole"],
        {
            "serving_default": rows(text=["The [MASK] drips."]),
            "pseudo_log_likelihood": rows(text=["The tap drips."]),
        },
        load={"allow_missing": ["masked_lm/", "next_sentence/"]},
    ),
}


def files_of(task: str, signature: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the request and the answer of a call stand."""
    name = task if signature == "serving_default" else f"{task}.{signature}"
    return REQUESTS / f"{name}.request.json", REQUESTS / f"{name}.answer.json"


def request_of(signature: str, instances: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of a `:predict` call."""
    named = {} if signature == "serving_default" else {"signature_name": signature}
    return {**named, "instances": instances}


def taught(source: Any, task: str) -> Any:
    """The model of a task, by the same steps each time."""
    import kbert

    toy = TOYS[task]
    model = kbert.load(source, task=task, labels=toy.labels, max_length=48, **toy.load)
    if toy.x is not None:
        model.compile(learning_rate=3e-3)
        model.fit(toy.x, toy.y, batch_size=4, epochs=60, verbose=0)
    return model


def answers_of(base: pathlib.Path, task: str) -> dict[str, Any]:
    """What a server says to every call of a task; `base` is a base path."""
    from kbert.serving.server import running_server

    found = {}
    with running_server(str(base), task, rest_timeout_ms=60000) as server:
        url = f"http://127.0.0.1:{server.rest_port}/v1/models/{task}:predict"
        for signature, instances in TOYS[task].calls.items():
            body = json.dumps(request_of(signature, instances)).encode()
            with urllib.request.urlopen(urllib.request.Request(url, body)) as response:
                found[signature] = json.load(response)
    return found


def rounded(value: Any) -> Any:
    """Numbers to four figures, as an answer is shown."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    import tempfile

    REQUESTS.mkdir(exist_ok=True)
    for task, toy in TOYS.items():
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder, "base")
            taught(sys.argv[1], task).export(base)
            for signature, answer in answers_of(base, task).items():
                request, place = files_of(task, signature)
                asked = request_of(signature, toy.calls[signature])
                for path, content in ((request, asked), (place, rounded(answer))):
                    text = json.dumps(content, indent=1, ensure_ascii=False)
                    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
