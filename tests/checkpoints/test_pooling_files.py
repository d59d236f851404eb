"""The files of sentence-transformers: what is read, what is written, what is refused."""

import json
import shutil

import numpy as np
import pytest
from refusals import message

import kbert
from kbert.checkpoints import bundle, sentence_transformers
from kbert.checkpoints.checkpoint import open_checkpoint
from kbert.layers.pooling import POOLINGS

NEW = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def modules(*names, paths=("", "1_Pooling", "2_Normalize")):
    return [
        {"idx": i, "name": str(i), "path": paths[i], "type": NEW.get(name, name)}
        for i, name in enumerate(names)
    ]


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A directory as the newest version writes it: the mean, divided by its length."""
    place = tmp_path / "model"
    shutil.copytree(tiny_model, place)
    write(place / "modules.json", modules("Transformer", "Pooling", "Normalize"))
    write(place / "1_Pooling" / "config.json", {"embedding_dimension": 32, "pooling_mode": "mean"})
    write(place / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    write(place / "config_sentence_transformers.json", {"prompts": {"query": ""}})
    return place


CONFIG = "config_sentence_transformers.json"


def embeddings(model, texts):
    return np.array([row["embedding"] for row in model.predict(texts)])


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def test_the_packaged_minilm(minilm):
    """The vectors are those that its authors' library gives, to the digits kept here."""
    model = kbert.load(minilm)
    assert (model.task.name, model.max_length, model.text_inputs) == ("embedding", 256, ("text",))
    assert model.options == {"pooling": "mean", "normalize": True}
    assert not any("new head" in note for note in model.report.notes)
    texts = ["A girl is styling her hair.", "A girl is brushing her hair."]
    vector = model.predict(texts)[0]["embedding"]
    assert len(vector) == 384
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert vector[:4] == pytest.approx([-0.0012179, -0.0062785, 0.0128859, -0.0205644], abs=2e-6)
    (row,) = model.predict([texts], signature="similarity")
    assert row["similarity"] == pytest.approx(0.805222, abs=2e-6)


def test_a_directory_is_another_task_where_that_is_asked_for(folder):
    """Whatever the further files say: the encoder is what it is."""
    write(folder / "modules.json", "[")
    model = kbert.load(folder, task="classification", labels=["a", "b"])
    assert (model.task.name, model.options, model.max_length) == ("classification", {}, 64)


def test_a_plain_directory_is_no_embedding_unless_it_is_asked_for(tiny_model):
    assert bundle.task_of(open_checkpoint(tiny_model)) is None
    model = kbert.load(tiny_model, task="embedding")
    assert (model.options, model.max_length) == ({}, 64)
    assert model.head.pooling, model.head.normalize == ("mean", False)


def test_a_list_of_modules_without_a_pooling_is_left_to_the_config(folder):
    """As a cross-encoder's has."""
    write(folder / "modules.json", modules("Transformer"))
    assert bundle.task_of(open_checkpoint(folder)) is None


@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_is_written_is_read(tiny_model, tmp_path, pooling):
    options = {"pooling": pooling, "normalize": pooling == "max"}
    model = kbert.load(tiny_model, task="embedding", options=options, max_length=20)
    model.save(tmp_path / "model")
    files = {p.name for p in (tmp_path / "model").iterdir()}
    further = {"modules.json", "1_Pooling", "sentence_bert_config.json", "kbert.json"}
    assert files > further
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    assert "id2label" not in config
    # by the files of others alone
    (tmp_path / "model" / "kbert.json").unlink()
    again = kbert.load(tmp_path / "model")
    assert (again.options, again.max_length) == (options, 20)
    assert again.predict(["The tap drips."]) == model.predict(["The tap drips."])
    listed = json.loads((tmp_path / "model" / "modules.json").read_text())
    paths = ["", "1_Pooling", "2_Normalize"]
    assert [one["path"] for one in listed] == paths[: 3 if pooling == "max" else 2]


def test_what_is_written(tmp_path):
    """As all versions of sentence-transformers read it."""
    options = {"pooling": "cls", "normalize": True, "prompt": ""}
    sentence_transformers.write(tmp_path, 32, options, 20)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    assert json.loads((tmp_path / "modules.json").read_text()) == [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    assert json.loads((tmp_path / "1_Pooling" / "config.json").read_text()) == {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    assert json.loads((tmp_path / "sentence_bert_config.json").read_text()) == {
        "max_seq_length": 20,
        "do_lower_case": False,
    }


def test_prompts_of_the_source_stay(folder, tmp_path):
    given = {"prompts": {"query": "query: "}, "default_prompt_name": None}
    write(folder / "config_sentence_transformers.json", given)
    kbert.load(folder).save(tmp_path / "saved")
    written = (tmp_path / "saved" / "config_sentence_transformers.json").read_text()
    assert json.loads(written) == given


QUERY = {"prompts": {"query": "query: ", "doc": None}, "default_prompt_name": "query"}


def test_a_default_prompt_stands_before_every_text(folder, tmp_path):
    texts = ["", "a cat", "Query: A cat"]
    plain, behind = kbert.load(folder), [f"query: {text}" for text in texts]
    write(folder / "config_sentence_transformers.json", QUERY)
    model = kbert.load(folder)
    assert model.options["prompt"] == "query: "
    vectors, expected = embeddings(model, texts), embeddings(plain, behind)
    np.testing.assert_array_equal(vectors, expected)
    assert np.abs(vectors - embeddings(plain, texts)).max() > 0.01
    pairs = list(zip(texts, texts[::-1], strict=True))
    found = [row["similarity"] for row in model.predict(pairs, signature="similarity")]
    behind_pairs = list(zip(behind, behind[::-1], strict=True))
    wanted = [row["similarity"] for row in plain.predict(behind_pairs, signature="similarity")]
    assert found == wanted
    # what is saved says so too, and a model may be loaded without it
    model.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / CONFIG).read_text()) == QUERY
    np.testing.assert_array_equal(embeddings(kbert.load(tmp_path / "saved"), texts), expected)
    without = kbert.load(folder, options={"prompt": ""})
    np.testing.assert_array_equal(embeddings(without, texts), embeddings(plain, texts))
    without.save(tmp_path / "without")
    written = json.loads((tmp_path / "without" / CONFIG).read_text())
    assert written == {**QUERY, "default_prompt_name": None}


@pytest.mark.parametrize("notes", [{}, {"prompts": None}, {"prompts": ["query: "]}])
def test_a_prompt_that_the_source_has_not(folder, tmp_path, notes):
    write(folder / CONFIG, notes)
    kbert.load(folder, options={"prompt": "find: "}).save(tmp_path / "saved")
    written = json.loads((tmp_path / "saved" / CONFIG).read_text())
    assert written["prompts"] == {"default": "find: "}
    assert written["default_prompt_name"] == "default"


def test_a_prompt_that_is_not_pooled(folder):
    write(folder / CONFIG, QUERY)
    pooling = folder / "1_Pooling" / "config.json"
    write(pooling, {**json.loads(pooling.read_text()), "include_prompt": False})
    assert message(kbert.load, folder) == (
        f"{pooling}: include_prompt: found false, expected true: kbert pools the words of the "
        "prompt 'query: ' too"
    )


def test_another_task_leaves_no_files_of_vectors(folder, tmp_path):
    kbert.load(folder).save(tmp_path / "saved")
    kbert.load(folder, task="classification", labels=["a", "b"]).save(tmp_path / "saved")
    files = {p.name for p in (tmp_path / "saved").iterdir()}
    assert not files & {"modules.json", "1_Pooling", "sentence_bert_config.json"}


@pytest.mark.parametrize(
    ("flags", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode": "max", "pooling_mode_cls_token": True}, "max"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({}, "mean"),
    ],
)
def test_ways_to_pool(folder, flags, pooling):
    write(folder / "1_Pooling" / "config.json", flags)
    assert sentence_transformers.read(folder, POOLINGS)["options"]["pooling"] == pooling


REFUSED = [
    ("modules.json", "[{", "modules.json: line 1: not JSON: Expecting property name enclosed"),
    ("modules.json", {}, "modules.json: expected a list of objects, one for each module"),
    (
        "modules.json",
        [{"idx": 0, "type": "a.Pooling"}],
        "modules.json: found a module without type or path, expected both",
    ),
    (
        "modules.json",
        modules("Transformer", "Pooling", "sentence_transformers.models.Dense"),
        "modules.json: found the module 'Dense', kbert has Transformer, Pooling, Normalize only",
    ),
    (
        "modules.json",
        modules("Transformer", "sentence_transformers.models.LSTM", "Pooling"),
        "modules.json: found the module 'LSTM', kbert has Transformer, Pooling, Normalize only",
    ),
    (
        "modules.json",
        modules("custom_st.Transformer", "Pooling"),
        "modules.json: found the module 'custom_st.Transformer', kbert has Transformer, Pooling,",
    ),
    (
        "modules.json",
        modules("Transformer", "Normalize", "Pooling"),
        "modules.json: found the modules Transformer, Normalize, Pooling, expected Transformer, "
        "Pooling and, if vectors are normalised, Normalize",
    ),
    (
        "modules.json",
        modules("Transformer", "Pooling", paths=("0_Transformer", "1_Pooling")),
        "modules.json: the Transformer lies in '0_Transformer', expected it beside this file",
    ),
    (
        "modules.json",
        modules("Transformer", "Pooling", paths=("", "../other")),
        "modules.json: path: found '../other', expected the name of a folder",
    ),
    (
        "1_Pooling/config.json",
        {"pooling_mode": "weightedmean"},
        "1_Pooling/config.json: found the pooling 'weightedmean', kbert has mean, cls, max, "
        "mean_sqrt_len_tokens only",
    ),
    (
        "1_Pooling/config.json",
        {"pooling_mode_lasttoken": True},
        "1_Pooling/config.json: found the pooling 'lasttoken', kbert has mean, cls, max, "
        "mean_sqrt_len_tokens only",
    ),
    (
        "1_Pooling/config.json",
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        "1_Pooling/config.json: found the poolings cls, mean, expected one",
    ),
    (
        "sentence_bert_config.json",
        {"max_seq_length": "256"},
        "sentence_bert_config.json: max_seq_length: found '256', expected a number or null",
    ),
    (
        "sentence_bert_config.json",
        {"transformer_task": "fill-mask"},
        "sentence_bert_config.json: transformer_task: found 'fill-mask', expected "
        "'feature-extraction'",
    ),
    (
        "config_sentence_transformers.json",
        {"prompts": {"query": "query: "}, "default_prompt_name": "queri"},
        "config_sentence_transformers.json: default_prompt_name: found 'queri', which is none of "
        "`prompts`; did you mean 'query'?",
    ),
    (
        "config_sentence_transformers.json",
        {"prompts": {"query": 3}, "default_prompt_name": "query"},
        "config_sentence_transformers.json: prompts: query: found 3, expected a text",
    ),
]


@pytest.mark.parametrize(("file", "content", "line"), REFUSED)
def test_what_is_refused(folder, file, content, line):
    write(folder / file, content)
    assert message(kbert.load, folder).startswith(f"{folder}/{line}")


def test_a_missing_pooling(folder):
    shutil.rmtree(folder / "1_Pooling")
    assert message(kbert.load, folder) == f"{folder}/1_Pooling/config.json: no such file"


def test_casing_that_does_not_fit(folder):
    write(folder / "tokenizer_config.json", {"do_lower_case": False})
    write(folder / "sentence_bert_config.json", {"do_lower_case": True})
    assert message(kbert.load, folder) == (
        f"{folder}/sentence_bert_config.json: do_lower_case: found true, tokenizer_config.json "
        "says false"
    )
