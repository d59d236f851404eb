"""Models by their name on the Hugging Face Hub: NAME or NAME@REVISION, wherever a path may stand.

Found, fetched and cached by huggingface_hub, so its variables hold: HF_HOME, HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE. Only files that kbert reads are fetched, and nothing of them is run.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Callable
from typing import TypeVar

from kbert.checkpoints.huggingface_files import (
    CONFIG,
    TOKENIZER_FILES,
    VOCABULARY_FILES,
    first_weights,
    listed_files,
    no_weights,
    weight_files,
)
from kbert.errors import BadInput

log = logging.getLogger("kbert")

# what kbert writes beside the files of a Hugging Face directory
_SETTINGS, _HEAD = "kbert.json", re.compile(r"heads/[\w-][\w.-]*\.safetensors")
# what sentence-transformers does
_POOLED = re.compile(r"modules\.json|(config_)?sentence_\w+\.json|\d+_Pooling/config\.json")
_NAME = re.compile(r"([\w-][\w.-]*(?:/[\w-][\w.-]*)?)(?:@(\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAIN = "main"


@dataclasses.dataclass(frozen=True)
class HubName:
    """A model on the Hub.

    Attributes:
        source: as it was given.
        name: owner/model, or one word for the oldest.
        revision: a branch, a tag or a commit.
    """

    source: str
    name: str
    revision: str = _MAIN


class _Refused(Exception):
    """The Hub does not give it.

    Attributes:
        why: the words for that.
        perhaps_a_path: whether a path with a slip in it could be the cause.
        away: whether the Hub was not there to answer.
    """

    def __init__(self, why: str, *, perhaps_a_path: bool = False, away: bool = False) -> None:
        super().__init__(why)
        self.why, self.perhaps_a_path, self.away = why, perhaps_a_path, away


def parse(source: str | os.PathLike[str]) -> HubName | None:
    """What a source names on the Hub; None if it is a path.

    Whatever is there on disk is a path, and so is a `pathlib.Path`.
    """
    if not isinstance(source, str):
        return None
    # a TensorFlow checkpoint goes by the beginning of its files' names
    if os.path.lexists(source) or os.path.lexists(f"{source}.index"):
        return None
    found = _NAME.fullmatch(source)
    return HubName(source, found[1], found[2] or _MAIN) if found else None


def fetch(source: str | os.PathLike[str], *, weights: bool = True) -> pathlib.Path:
    """The path of a model: one that is named on the Hub is fetched, a path stays as it is.

    Where the Hub does not answer, what the cache has of the model is taken, with a warning.

    Args:
        source: NAME, NAME@REVISION or a path.
        weights: whether they are needed; else the config and the tokenizer's files are fetched.

    Returns:
        A path; of a model on the Hub its folder in the cache, whose name is the commit.

    Raises:
        BadInput: neither the Hub nor the cache gives it.
    """
    wanted = parse(source)
    if wanted is None:
        return pathlib.Path(source)
    from huggingface_hub import constants

    cached = _cached(wanted)
    whole = cached is not None and (not weights or _has_weights(cached))
    # a commit never changes
    fixed = _COMMIT.fullmatch(wanted.revision) and cached is not None and _has_all(cached)
    if cached is not None and whole and (constants.HF_HUB_OFFLINE or fixed):
        return cached
    try:
        if constants.HF_HUB_OFFLINE:
            raise _Refused("HF_HUB_OFFLINE is set", perhaps_a_path=True, away=True)
        return _download(wanted, weights=weights)
    except _Refused as refused:
        if cached is None or not whole:
            partly = _cached(wanted) is not None
            raise BadInput(_message(wanted, refused, partly)) from None
        why = refused.why
    log.warning("%s: %s; taking commit %s from the cache", source, why, cached.name)
    return cached


def pin(source: str) -> str:
    """A source that means the same model for ever: NAME@COMMIT for one on the Hub.

    Raises:
        BadInput: as `fetch`.
    """
    wanted = parse(source)
    return source if wanted is None else f"{wanted.name}@{fetch(source).name}"


def _message(wanted: HubName, refused: _Refused, partly: bool) -> str:
    from huggingface_hub import constants

    here = "no such directory here, and " if refused.perhaps_a_path else ""
    cache = ""
    if refused.away:
        has = "has only a part of it" if partly else "does not have it"
        cache = f"; the cache {constants.HF_HUB_CACHE} {has}"
        if not constants.HF_HUB_OFFLINE:
            cache += "; HF_HUB_OFFLINE=1 asks the cache alone"
    return f"{wanted.source}: {here}{refused.why}{cache}"


def _cached(wanted: HubName) -> pathlib.Path | None:
    """The folder that the cache has for a revision; it may hold a part only."""
    from huggingface_hub import errors, try_to_load_from_cache

    try:
        found = try_to_load_from_cache(wanted.name, CONFIG, revision=wanted.revision)
    except errors.HFValidationError:
        return None
    return pathlib.Path(found).parent if isinstance(found, str) else None


def _has_weights(folder: pathlib.Path) -> bool:
    try:
        return all(file.is_file() for file in weight_files(folder))
    except BadInput:
        return False


def _has_all(folder: pathlib.Path) -> bool:
    """Whether no fetch ended early: weights come last."""
    vocabulary = any((folder / name).is_file() for name in VOCABULARY_FILES)
    return vocabulary and _has_weights(folder)


def _download(wanted: HubName, *, weights: bool) -> pathlib.Path:
    """Fetches what the cache lacks; returns the folder.

    Raises:
        _Refused: says why it cannot.
        BadInput: an index of weights is damaged.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download

    where = f"{constants.ENDPOINT}/{wanted.name}"
    info = _ask(
        wanted,
        "",
        lambda: HfApi().model_info(
            wanted.name, revision=wanted.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
        ),
    )
    listed = [sibling.rfilename for sibling in info.siblings or ()]
    first = first_weights(listed)
    if CONFIG not in listed:
        raise _Refused(f"{where} has no {CONFIG}, so it is no model")
    if first is None and weights:
        raise _Refused(no_weights(listed, f"repository ({where})"))

    def get(name: str, revision: str) -> pathlib.Path:
        return pathlib.Path(
            _ask(wanted, name, lambda: hf_hub_download(wanted.name, name, revision=revision))
        )

    # by the revision's own name, so that the cache knows the commit behind it
    folder = get(CONFIG, wanted.revision).parent
    # the vocabulary after what says how to use it, and weights last: what is whole tells by these
    names = [name for name in listed if _POOLED.fullmatch(name)]
    names += [name for name in (_SETTINGS, *reversed(TOKENIZER_FILES)) if name in listed]
    if weights and first is not None:
        names += [name for name in listed if _HEAD.fullmatch(name)] + [first]
    for name in names:
        path = get(name, folder.name)
        if name.endswith(".index.json"):
            for part in listed_files(path):
                get(part, folder.name)
    log.info("%s: commit %s, in %s", wanted.source, folder.name, folder)
    return folder


_Answer = TypeVar("_Answer")


def _ask(wanted: HubName, file: str, call: Callable[[], _Answer]) -> _Answer:
    """What a call to the Hub returns.

    Raises:
        _Refused: in place of the library's errors and those of the network.
    """
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    where = f"{hub}/{wanted.name}"
    refused = "is private, or for those whom its owner lets in: ask there"
    try:
        return call()
    except errors.GatedRepoError:
        raise _Refused(f"{where} {refused}, then `hf auth login` or set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise _Refused(f"{where} has no revision {wanted.revision!r}") from None
    except errors.RepositoryNotFoundError:
        raise _Refused(
            f"no model {where} that you may see; check the name, or `hf auth login` if it is "
            "private",
            perhaps_a_path=True,
        ) from None
    except errors.HFValidationError:
        raise _Refused(f"{hub} has no names like that", perhaps_a_path=True) from None
    except errors.LocalEntryNotFoundError as error:
        problem: BaseException = error.__cause__ or error
    except errors.EntryNotFoundError:
        raise _Refused(f"{where} has no {file}") from None
    # the library's client of HTTP has changed twice, and each has errors of its own
    except Exception as error:
        problem = error
    status = getattr(getattr(problem, "response", None), "status_code", None)
    if status in (401, 403):
        raise _Refused(f"{where} {refused}, then `hf auth login` or set HF_TOKEN")
    if status is not None:
        raise _Refused(f"{hub} answered {status}", away=True)
    said = _reason(problem)
    if file:
        why = f"{file}: the download from {hub} broke off ({said}), the same again goes on with it"
        raise _Refused(why, away=True)
    raise _Refused(f"{hub} cannot be reached ({said})", perhaps_a_path=True, away=True)


def _reason(error: BaseException | None) -> str:
    """The system's words for a failure, from beneath those of the libraries."""
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    for one in reversed(chain):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
    return " ".join(str(chain[0]).split())[:200] or type(chain[0]).__name__
