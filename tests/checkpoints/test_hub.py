"""Models by their name on the Hub: what is fetched, what the cache does, what is said."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from hub_server import FIRST, SECOND, Hub, Repository
from refusals import message

from kbert.checkpoints import hub
from kbert.checkpoints.hub import HubName, parse

# The library reads its variables when it is imported, so each case is a process of its own.
ASK = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
logging.getLogger("kbert").setLevel(logging.INFO)
from kbert.checkpoints import hub
for source in sys.argv[1:]:
    try:
        source, _, only = source.partition(" ")
        print(hub.pin(source) if only == "pin" else hub.fetch(source, weights=only != "config"))
    except ValueError as error:
        print("refused:", error)
assert not {"tensorflow", "keras", "torch"} & set(sys.modules)
"""


@pytest.fixture
def server(goldens, tmp_path):
    """A Hub with models as others leave them there."""
    models = goldens / "models"
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "tf_model.h5").write_bytes(b"x")
    (stray / "config.json").write_text('{"model_type": "bert"}')
    heads = tmp_path / "heads"
    (heads / "heads").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (heads / name).write_bytes((models / "bert-model" / name).read_bytes())
    for name in ("vocab.txt", "tokenizer_config.json", "kbert.json", "README.md"):
        (heads / name).write_text(name)
    for name in ("heads/ner.safetensors", "pytorch_model.bin", "modeling.py", "heads/evil.py"):
        (heads / name).write_text(name)
    vectors = tmp_path / "vectors"
    for name in ("config.json", "model.safetensors"):
        (vectors / name).parent.mkdir(exist_ok=True)
        (vectors / name).write_bytes((models / "bert-model" / name).read_bytes())
    for name in ("1_Pooling/config.json", "2_Dense/config.json", "modules.json", "vocab.txt"):
        (vectors / name).parent.mkdir(exist_ok=True)
        (vectors / name).write_text(name)
    for name in ("sentence_bert_config.json", "config_sentence_transformers.json"):
        (vectors / name).write_text(name)
    classifier = models / "bert-sequence_classification"
    versions = {"main": FIRST, "v2": SECOND}
    with Hub(
        them__classifier=Repository({FIRST: classifier, SECOND: models / "bert-model"}, versions),
        old=Repository({FIRST: models / "legacy" / "bin-zip"}),
        them__parts=Repository({FIRST: models / "legacy" / "bin-sharded"}),
        them__heads=Repository({FIRST: heads}),
        them__stray=Repository({FIRST: stray}),
        them__vectors=Repository({FIRST: vectors}),
        them__empty=Repository({FIRST: tmp_path / "heads" / "heads"}),
        them__gated=Repository({FIRST: models / "bert-model"}, token="their token"),
    ) as running:
        yield running


@pytest.fixture
def ask(server, tmp_path):
    """Fetches in a process of its own: answers, and what it said on standard error."""
    home = tmp_path / "home"

    def call(*sources: str, **variables: str) -> tuple[list[str], list[str]]:
        server.asked.clear()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
        given = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), **variables}
        done = subprocess.run(
            [sys.executable, "-c", ASK, *sources],
            env={**clean, **given},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        said = [line for line in done.stderr.splitlines() if "them/" in line or "old" in line]
        return done.stdout.splitlines(), said

    return call


@pytest.fixture
def cache(tmp_path):
    """Where the cache has a commit of a model."""

    def place(name: str, commit: str = FIRST) -> pathlib.Path:
        folder = f"models--{name.replace('/', '--')}"
        return tmp_path / "home" / "hub" / folder / "snapshots" / commit

    return place


NOWHERE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
REFUSED = "http://127.0.0.1:9 cannot be reached (Connection refused)"


# What is a name --------------------------------------------------------------------------


def test_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse("google-bert/bert-base-uncased") == HubName(
        "google-bert/bert-base-uncased", "google-bert/bert-base-uncased", "main"
    )
    assert parse("bert-base-uncased@v1.0") == HubName(
        "bert-base-uncased@v1.0", "bert-base-uncased", "v1.0"
    )
    assert parse("a/b@refs/pr/1").revision == "refs/pr/1"
    for path in ("/a/b", "./a", "../a", "~/a", "a/b/c", "a/", "a b", "a/b@", "", "ä/b", "a\\b"):
        assert parse(path) is None, path
    assert parse(pathlib.Path("google-bert/bert-base-uncased")) is None


def test_what_is_there_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    assert parse("a") is None
    (tmp_path / "a" / "b@c").write_text("")
    assert parse("a/b@c") is None
    (tmp_path / "a" / "broken").symlink_to("nowhere")
    assert parse("a/broken") is None
    # what TensorFlow calls a checkpoint is the beginning of its files' names
    assert parse("a/model.ckpt") is not None
    (tmp_path / "a" / "model.ckpt.index").write_text("")
    assert parse("a/model.ckpt") is None
    assert hub.fetch("a/model.ckpt") == pathlib.Path("a/model.ckpt")
    assert hub.pin("a/model.ckpt") == "a/model.ckpt"


# What is fetched -------------------------------------------------------------------------


def test_only_what_is_read_is_fetched(server, ask, cache):
    found, said = ask("them/heads")
    folder = cache("them/heads")
    assert found == [str(folder)]
    fetched = ["config.json", "heads/ner.safetensors", "kbert.json", "model.safetensors"]
    assert sorted(server.files()) == [*fetched, "tokenizer_config.json", "vocab.txt"]
    assert said == [f"them/heads: commit {FIRST}, in {folder}"]
    found, _ = ask("them/heads config", HF_HOME=str(folder.parents[4] / "other"))
    others = ["config.json", "kbert.json", "tokenizer_config.json", "vocab.txt"]
    assert sorted(server.files()) == others


def test_weights_of_torch_where_there_are_no_others(server, ask, cache, goldens):
    found, _ = ask("old", "them/parts")
    assert found == [str(cache("old")), str(cache("them/parts"))]
    assert server.files() == [
        *("config.json", "pytorch_model.bin", "config.json", "pytorch_model.bin.index.json"),
        *(f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)),
    ]
    for folder, name in ((cache("old"), "bin-zip"), (cache("them/parts"), "bin-sharded")):
        for file in (goldens / "models" / "legacy" / name).iterdir():
            assert (folder / file.name).read_bytes() == file.read_bytes()


def test_files_of_sentence_transformers(server, ask, cache):
    """Those that are read, and no folder of another module."""
    found, _ = ask("them/vectors")
    assert found == [str(cache("them/vectors"))]
    assert server.files() == [
        "config.json",
        *("1_Pooling/config.json", "config_sentence_transformers.json", "modules.json"),
        *("sentence_bert_config.json", "vocab.txt", "model.safetensors"),
    ]


def test_the_second_time_nothing_is_fetched(server, ask, cache):
    ask("them/classifier")
    assert server.files() == ["config.json", "model.safetensors"]
    found, _ = ask("them/classifier")
    assert (found, server.files()) == ([str(cache("them/classifier"))], [])
    found, said = ask("them/classifier", HF_HUB_OFFLINE="1")
    assert (found, said, server.asked) == ([str(cache("them/classifier"))], [], [])


def test_revisions(server, ask, cache):
    """A branch, a tag and a commit; what is pinned is asked for no more."""
    found, _ = ask("them/classifier@v2", "them/classifier", "them/classifier@v2 pin", "old pin")
    first, second = cache("them/classifier"), cache("them/classifier", SECOND)
    assert found == [str(second), str(first), f"them/classifier@{SECOND}", f"old@{FIRST}"]
    assert sorted(path.name for path in second.iterdir()) == ["config.json", "model.safetensors"]
    assert (first / "config.json").read_bytes() != (second / "config.json").read_bytes()
    # the branch moves on
    server.repositories["them/classifier"].revisions["main"] = SECOND
    assert ask("them/classifier")[0] == [str(second)]


def test_a_commit_that_is_there_is_not_asked_for(server, ask, cache):
    """Unless a fetch ended early: the vocabulary comes after its settings, weights last."""
    folder, pinned = cache("them/heads"), f"them/heads@{FIRST}"
    ask(pinned)
    assert server.files() == [
        *("config.json", "kbert.json", "tokenizer_config.json", "vocab.txt"),
        *("heads/ner.safetensors", "model.safetensors"),
    ]
    for source in (pinned, f"{pinned} config", f"{pinned} pin"):
        found, said = ask(source)
        assert found == [pinned if source.endswith("pin") else str(folder)]
        assert (said, server.asked) == ([], [])
    for name in ("vocab.txt", "model.safetensors"):
        content = (folder / name).read_bytes()
        (folder / name).resolve().unlink()
        (folder / name).unlink()
        assert ask(pinned)[0] == [str(folder)]
        assert server.files() == [name]
        assert (folder / name).read_bytes() == content


def test_a_download_that_is_cut_once(server, ask, cache, goldens):
    """The library goes on by itself."""
    server.cut["model.safetensors"] = 5000
    found, _ = ask("them/classifier")
    assert found == [str(cache("them/classifier"))]
    assert server.cut == {}
    assert server.files() == ["config.json", "model.safetensors", "model.safetensors"]
    original = goldens / "models" / "bert-sequence_classification" / "model.safetensors"
    fetched = cache("them/classifier") / "model.safetensors"
    assert fetched.read_bytes() == original.read_bytes()


def broken_off():
    try:
        raise ConnectionResetError(104, "Connection reset by peer")
    except OSError as error:
        raise RuntimeError("a client's own error,\nof several lines") from error


def full():
    raise OSError(28, "No space left on device")


def odd():
    raise RuntimeError("two\nlines")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (broken_off, "Connection reset by peer"),
        (full, "No space left on device"),
        (odd, "two lines"),
    ],
)
def test_a_download_that_breaks_off(tmp_path, monkeypatch, call, words):
    """Whatever the client raises, the line has the system's words and says how to go on."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    wanted = HubName("a/b", "a/b")
    with pytest.raises(hub._Refused) as caught:
        hub._ask(wanted, "model.safetensors", call)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert hub._message(wanted, caught.value, partly=True) == (
        f"a/b: model.safetensors: the download from https://hub.example broke off ({words}), the "
        f"same again goes on with it; the cache {tmp_path} has only a part of it; "
        "HF_HUB_OFFLINE=1 asks the cache alone"
    )


def test_a_private_model(server, ask, cache):
    found, _ = ask("them/gated", HF_TOKEN="another")
    assert found == [
        f"refused: them/gated: {server.url}/them/gated is private, or for those whom its owner "
        "lets in: ask there, then `hf auth login` or set HF_TOKEN"
    ]
    assert ask("them/gated", HF_TOKEN="their token")[0] == [str(cache("them/gated"))]


# What is refused -------------------------------------------------------------------------


def test_what_the_hub_does_not_have(server, ask):
    found, _ = ask(
        *("them/nothing", "runs/model", "nothing", "them/classifier@v3", "them/stray"),
        *("them/empty", "a--b", "them/stray config"),
    )
    hint = "that you may see; check the name, or `hf auth login` if it is private"
    url = server.url
    assert found[:-1] == [
        f"refused: them/nothing: no such directory here, and no model {url}/them/nothing {hint}",
        f"refused: runs/model: no such directory here, and no model {url}/runs/model {hint}",
        f"refused: nothing: no such directory here, and no model {url}/nothing {hint}",
        f"refused: them/classifier@v3: {url}/them/classifier has no revision 'v3'",
        f"refused: them/stray: no model.safetensors or pytorch_model.bin in this repository "
        f"({url}/them/stray); found tf_model.h5, which kbert does not read",
        f"refused: them/empty: {url}/them/empty has no config.json, so it is no model",
        f"refused: a--b: no such directory here, and {url} has no names like that",
    ]
    assert found[-1].endswith(FIRST)  # its tokenizer needs no weights


def test_nobody_answers(server, ask, cache, tmp_path):
    where = tmp_path / "home" / "hub"
    found, _ = ask("them/classifier", **NOWHERE)
    assert found == [
        f"refused: them/classifier: no such directory here, and {REFUSED}; the cache {where} does "
        "not have it; HF_HUB_OFFLINE=1 asks the cache alone"
    ]
    found, _ = ask("them/classifier", HF_HUB_OFFLINE="1")
    assert found == [
        "refused: them/classifier: no such directory here, and HF_HUB_OFFLINE is set; the cache "
        f"{where} does not have it"
    ]
    assert not where.exists()


def test_a_part_in_the_cache(server, ask, cache, tmp_path):
    where = tmp_path / "home" / "hub"
    ask("them/classifier config")
    assert ask("them/classifier config", **NOWHERE)[0] == [str(cache("them/classifier"))]
    for variables, reason, hint in (
        (NOWHERE, REFUSED, "; HF_HUB_OFFLINE=1 asks the cache alone"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set", ""),
    ):
        found, _ = ask("them/classifier", **variables)
        assert found == [
            f"refused: them/classifier: no such directory here, and {reason}; the cache {where} "
            f"has only a part of it{hint}"
        ]


@pytest.mark.parametrize("kind", ["nobody answers", "out of order", "taken away"])
def test_the_cache_stands_in_and_that_is_said(server, ask, cache, kind):
    ask("them/classifier")
    folder, variables = cache("them/classifier"), {}
    if kind == "nobody answers":
        variables, reason = NOWHERE, REFUSED
    elif kind == "out of order":
        server.status, reason = 503, f"{server.url} answered 503"
    else:
        del server.repositories["them/classifier"]
        reason = (
            f"no model {server.url}/them/classifier that you may see; check the name, or `hf auth "
            "login` if it is private"
        )
    found, said = ask("them/classifier", **variables)
    assert found == [str(folder)]
    assert said == [f"them/classifier: {reason}; taking commit {FIRST} from the cache"]


def test_out_of_order(server, ask, tmp_path):
    server.status = 503
    assert ask("them/classifier")[0] == [
        f"refused: them/classifier: {server.url} answered 503; the cache {tmp_path}/home/hub does "
        "not have it; HF_HUB_OFFLINE=1 asks the cache alone"
    ]


def test_an_index_that_lists_what_is_not_there(server, ask, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "1.safetensors"}}')
    server.repositories["them/broken"] = Repository({FIRST: folder})
    url = f"{server.url}/them/broken"
    assert ask("them/broken")[0] == [f"refused: them/broken: {url} has no 1.safetensors"]
    index.write_text('{"weight_map": {"a": "../../../1.safetensors"}}')
    server.repositories["them/broken"] = Repository({SECOND: folder}, {"main": SECOND})
    (answer,) = ask("them/broken")[0]
    assert re.fullmatch(
        r"refused: .*/model\.safetensors\.index\.json: a: found '\.\./\.\./\.\./1\.safetensors', "
        "expected the name of a file",
        answer,
    )
    assert not list(tmp_path.glob("*.safetensors"))


def test_not_a_hub_name_is_no_business_of_the_hub(tmp_path, monkeypatch):
    """Nothing of the library is even imported for a path."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert hub.fetch(tmp_path) == tmp_path
    assert hub.fetch("/nowhere/at/all") == pathlib.Path("/nowhere/at/all")
    with pytest.raises(ImportError):
        hub.fetch("some/name")


def test_a_path_with_a_slip(tmp_path):
    from kbert.checkpoints.checkpoint import open_checkpoint

    assert message(open_checkpoint, str(tmp_path / "x")) == (
        f"{tmp_path / 'x'}: no such model directory"
    )
