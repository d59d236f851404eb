"""A corpus as ids on disk: what is read back, at any place, and what is refused."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file
from toy_corpus import TOY, as_text, toy_documents

from kbert.errors import BadInput
from kbert.objectives.pairing import PairingOptions, Texts, random_texts
from kbert.pretrain import building
from kbert.pretrain.building import build, cut
from kbert.pretrain.corpus_options import CorpusOptions
from kbert.pretrain.store import Store, fingerprint
from kbert.text import WordPieceTokenizer

REMEDY = "remove it, or give the flags of then"


@pytest.fixture(scope="module")
def expected(toy_tokenizer):
    """The ids of each sentence of each document."""
    return [
        [ids.numpy().tolist() for ids in toy_tokenizer.ids(document)]
        for document in toy_documents(60)
    ]


def test_every_id_is_in_its_place(toy_store, expected):
    assert toy_store.parts > 3
    assert toy_store.documents == 60
    assert toy_store.sentences == sum(map(len, expected))
    flat = [k for document in expected for sentence in document for k in sentence]
    assert toy_store.tokens == len(flat)
    assert toy_store.dtype == np.uint16
    found = []
    for run in toy_store.runs(200):
        documents = toy_store.run(run)
        assert run.tokens == documents.sentences[-1] - documents.sentences[0]
        starts = documents.sentences[:-1]
        sizes = np.diff(documents.sentences)
        ids = toy_store.read(Texts(starts, sizes)).tolist()
        for first, last in itertools.pairwise(documents.documents.tolist()):
            sentences = []
            for k in range(first, last):
                begin = starts[k] - starts[0]
                sentences.append(ids[begin : begin + sizes[k]])
            found.append(sentences)
    assert found == expected


def test_texts_are_read_at_any_place_and_in_any_order(toy_store, expected):
    flat = np.array([k for document in expected for sentence in document for k in sentence])
    run = toy_store.run(toy_store.runs(10**9)[1])
    begin, end = int(run.sentences[0]), int(run.sentences[-1])
    ends = toy_store._tokens[1:]
    rng = np.random.default_rng(0)
    starts = rng.integers(0, toy_store.tokens, 200)
    # up to the end of a part, or of the run
    bound = ends[np.searchsorted(ends, starts, "right")]
    bound = np.where((starts >= begin) & (starts < end), end, bound)
    sizes = np.minimum(rng.integers(0, 40, 200), bound - starts)
    wanted = np.concatenate([flat[a : a + n] for a, n in zip(starts, sizes, strict=True)])
    for span in (None, run):
        np.testing.assert_array_equal(toy_store.read(Texts(starts, sizes), span), wanted)
    assert ((starts >= begin) & (starts < end)).sum() > 5
    inside = np.array([begin, begin + 3])
    np.testing.assert_array_equal(
        toy_store.read(Texts(inside, np.array([2, 4])), run),
        [*flat[begin : begin + 2], *flat[begin + 3 : begin + 7]],
    )
    assert toy_store.read(Texts(starts[:0], sizes[:0])).tolist() == []


def test_runs_hold_all_documents_and_about_as_many_ids_as_asked(toy_store):
    runs = toy_store.runs(300)
    assert sum(run.tokens for run in runs) == toy_store.tokens
    assert max(run.tokens for run in runs) < 300 + 12 * 15 * 2
    for one, two in itertools.pairwise(runs):
        assert (two.part, two.first) in ((one.part, one.last), (one.part + 1, 0))
    assert len(toy_store.runs(10**9)) == toy_store.parts


def test_random_texts_are_those_of_the_tables_in_memory(toy_store, monkeypatch):
    """Draw by draw, as `random_texts` finds them in the whole text."""
    whole = [toy_store.run(run) for run in toy_store.runs(10**9)]
    sentences = np.concatenate([[0], *(documents.sentences[1:] for documents in whole)])
    counts = np.concatenate([np.diff(documents.documents) for documents in whole])
    documents = whole[0]._replace(
        sentences=sentences, documents=np.concatenate([[0], np.cumsum(counts)])
    )
    rng = np.random.default_rng(0)
    own, wanted = rng.integers(0, 60, 500), rng.integers(-5, 150, 500)
    expected = random_texts(documents, own, wanted, np.random.default_rng(5))
    for first in (24, 1):
        monkeypatch.setattr("kbert.pretrain.store._SENTENCES", first)
        found = toy_store.elsewhere(own, wanted, np.random.default_rng(5))
        np.testing.assert_array_equal(found.starts, expected.starts)
        np.testing.assert_array_equal(found.sizes, expected.sizes)
    first = toy_store.runs(200)[5]
    number = int(toy_store._documents[first.part]) + first.first
    found = toy_store.elsewhere_of(first)(own[:9] % 3, wanted[:9], np.random.default_rng(1))
    again = toy_store.elsewhere(own[:9] % 3 + number, wanted[:9], np.random.default_rng(1))
    np.testing.assert_array_equal(found, again)


def test_unigrams_are_counted(toy_store, expected):
    flat = [k for document in expected for sentence in document for k in sentence]
    assert toy_store.unigrams().tolist() == np.bincount(flat, minlength=len(TOY)).tolist()


def test_any_number_of_open_files_will_do(toy_text, toy_store, monkeypatch, toy_tokenizer):
    monkeypatch.setattr("kbert.pretrain.store._OPEN", 1)
    store = Store(toy_store.folder)
    ends = store._tokens[:-1]
    for texts in (ends, ends[::-1]):
        made = Texts(texts, np.ones(len(texts), int))
        np.testing.assert_array_equal(store.read(made), toy_store.read(made))
    assert len(store._files) == 1
    store.close()


def test_sentences_without_ids_are_dropped(toy_tokenizer):
    arrays = cut([["w1", "\u200b", "w2 w3"], ["\u200b"], ["w4"]], toy_tokenizer)
    assert arrays["ids"].tolist() == [6, 7, 8, 9]
    assert arrays["sentences"].tolist() == [0, 1, 3, 4]
    assert arrays["documents"].tolist() == [0, 2, 3]


def test_a_large_vocabulary_has_ids_of_four_bytes():
    class Large:
        vocab_size = 1 << 17
        ids = WordPieceTokenizer(TOY).ids

    assert cut([["w1"]], Large())["ids"].dtype == np.int32
    Large.vocab_size = 1 << 16
    assert cut([["w1"]], Large())["ids"].dtype == np.uint16


def folder_of(path):
    return {p.name: p.read_bytes() for p in sorted(path.iterdir()) if p.is_file()}


def test_building_goes_on_where_it_broke(toy_text, toy_tokenizer, toy_store, tmp_path, monkeypatch):
    class Broken(Exception):
        pass

    whole = building.cut_block

    def cut_block(state, task):
        if task[0] == 2:
            raise Broken
        return whole(state, task)

    monkeypatch.setattr(building, "cut_block", cut_block)
    with pytest.raises(Broken):
        build(tmp_path / "s", [toy_text], toy_tokenizer, part=4000, quiet=True)
    parts = [p.name for p in tmp_path.glob("s/part-*")]
    assert sorted(parts) == ["part-00000.safetensors", "part-00001.safetensors"]
    made = (tmp_path / "s" / parts[0]).stat().st_mtime_ns
    with pytest.raises(BadInput, match=r"no store.json, expected a corpus of token ids$"):
        Store(tmp_path / "s")
    monkeypatch.setattr(building, "cut_block", whole)
    build(tmp_path / "s", [toy_text], toy_tokenizer, part=4000, quiet=True)
    assert (tmp_path / "s" / parts[0]).stat().st_mtime_ns == made
    assert folder_of(tmp_path / "s") == folder_of(toy_store.folder)


def test_building_that_broke_at_its_begin(
    toy_text, toy_tokenizer, toy_store, tmp_path, monkeypatch
):
    """Before the folder said what it is made from."""

    class Broken(Exception):
        pass

    def broken(path, value):
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(building, "write_json", broken)
        with pytest.raises(Broken):
            build(tmp_path / "s", [toy_text], toy_tokenizer, part=4000, quiet=True)
    # what a process that is killed in there leaves
    (tmp_path / ".s.0123456789abcdef.kbert-tmp" / "tokenizer").mkdir(parents=True)
    build(tmp_path / "s", [toy_text], toy_tokenizer, part=4000, quiet=True)
    assert folder_of(tmp_path / "s") == folder_of(toy_store.folder)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.slow
def test_any_number_of_processes_cuts_the_same(toy_text, toy_tokenizer, toy_store, tmp_path):
    build(tmp_path / "s", [toy_text], toy_tokenizer, part=4000, workers=3, quiet=True)
    assert folder_of(tmp_path / "s") == folder_of(toy_store.folder)


def test_what_is_there_is_taken_and_others_are_refused(toy_text, toy_tokenizer, tmp_path):
    folder, text = tmp_path / "s", tmp_path / "a.txt"
    shutil.copy(toy_text, text)
    build(folder, [text], toy_tokenizer, quiet=True)
    before = folder_of(folder)
    build(folder, [text], toy_tokenizer, quiet=True)
    assert folder_of(folder) == before
    other = WordPieceTokenizer([*TOY, "more"])
    for inputs, tokenizer, options, message in (
        ([text], other, None, "vocabulary"),
        (
            [text],
            toy_tokenizer,
            CorpusOptions(min_sentences=2),
            "min_sentences (there 0, now 2)",
        ),
        (
            [toy_text],
            toy_tokenizer,
            None,
            f"input (there {text}; now {toy_text})",
        ),
    ):
        with pytest.raises(BadInput) as error:
            build(folder, inputs, tokenizer, options, quiet=True)
        assert str(error.value) == (
            f"{folder}: holds other work, these differ: {message}; {REMEDY}"
        )
    os.utime(text, ns=(1, 1))
    with pytest.raises(BadInput) as error:
        build(folder, [text], toy_tokenizer, quiet=True)
    assert str(error.value) == (
        f"{folder}: holds other work, these differ: input (changed since then: {text}); {REMEDY}"
    )


def test_places_that_will_not_do(toy_text, toy_tokenizer, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "blank.txt").write_text("\n \n")
    for folder, text, message in (
        (
            tmp_path / "full",
            toy_text,
            f"{tmp_path / 'full'}: not empty and no corpus of token ids; give a new directory",
        ),
        (
            tmp_path / "file",
            toy_text,
            f"{tmp_path / 'file'}: is a file, expected a directory",
        ),
        (
            tmp_path / "no" / "s",
            toy_text,
            f"{tmp_path / 'no' / 's'}: no directory {tmp_path / 'no'} to write it to",
        ),
        (
            tmp_path / "s",
            tmp_path / "blank.txt",
            "no text in the files, or none that the options keep; expected documents",
        ),
    ):
        with pytest.raises(BadInput) as error:
            build(folder, [text], toy_tokenizer, quiet=True)
        assert str(error.value) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blank.txt", "file", "full"]


def test_parts_that_are_missing_cut_off_or_others(toy_store, tmp_path):
    def broken(change):
        folder = tmp_path / "s"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(toy_store.folder, folder)
        path = folder / "part-00001.safetensors"
        change(path)
        with pytest.raises(BadInput) as error:
            Store(folder).runs(100)
        return str(error.value).removeprefix(f"{path}: ")

    raw = (toy_store.folder / "part-00001.safetensors").read_bytes()
    assert broken(lambda path: path.unlink()) == "no such file, expected part 1 of a corpus"
    assert broken(lambda path: path.write_bytes(raw[:-9])) == "is cut off; make the corpus again"
    assert broken(lambda path: path.write_bytes(b"x")) == "no part of a corpus of token ids"
    count = len(load_file(toy_store.folder / "part-00000.safetensors")["ids"])
    other = (toy_store.folder / "part-00000.safetensors").read_bytes()
    expected = len(load_file(toy_store.folder / "part-00001.safetensors")["ids"])
    assert broken(lambda path: path.write_bytes(other)) == (
        f"found {count:,} ids, expected {expected:,} as store.json"
    )


def test_a_store_of_another_version(toy_store, tmp_path):
    shutil.copytree(toy_store.folder, tmp_path / "s")
    path = tmp_path / "s" / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 9}))
    with pytest.raises(BadInput) as error:
        Store(tmp_path / "s")
    assert str(error.value) == f"{path}: version: found 9, expected 1"


def test_one_document_has_no_other_to_draw_from(toy_tokenizer, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("w1 w2\nw3\n")
    store = build(tmp_path / "s", [path], toy_tokenizer, quiet=True)
    store.check_pairs(PairingOptions(next_sentence=False))
    with pytest.raises(BadInput) as error:
        store.check_pairs(PairingOptions())
    assert str(error.value) == (
        f"{path}: found 1 document, but a random next sentence comes from another one; put blank "
        "lines between documents, or give --nonext_sentence"
    )


def test_fingerprints_differ_where_ids_would(toy_tokenizer):
    assert fingerprint(WordPieceTokenizer(TOY)) == fingerprint(toy_tokenizer)
    assert fingerprint(WordPieceTokenizer(TOY, lower_case=False)) != fingerprint(toy_tokenizer)
    assert fingerprint(WordPieceTokenizer([*TOY[:-1], "x"])) != fingerprint(toy_tokenizer)


def test_documents_of_text_keep_their_borders(toy_tokenizer, tmp_path):
    """A file's end ends a document, and documents never lie in two parts."""
    for name, documents in (("a.txt", toy_documents(3, 1)), ("b.txt", toy_documents(2, 2))):
        (tmp_path / name).write_text(as_text(documents).rstrip("\n"))
    store = build(tmp_path / "s", [tmp_path / "*.txt"], toy_tokenizer, part=1, quiet=True)
    assert (store.documents, store.parts) == (5, 5)
