"""WordPiece, by the trainer of Hugging Face `tokenizers`, on the words of kbert's own tokenizer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kbert.errors import BadInput
from kbert.pretrain.vocabularies import Kind, Learned, VocabularyOptions
from kbert.text import wordpiece_files

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# longer words are unknown whatever the vocabulary
_LONGEST_WORD = 200
# how often a word comes in one string that the trainer is given
_TIMES = 1000


def learn(parts: Iterable[Sequence[str]], options: VocabularyOptions) -> Learned:
    """Counts words and joins their pieces, the most frequent pair first.

    The special tokens come first, [PAD] as 0, then the unused ones, the characters at the
    beginning of words and inside, by code point, and the pieces in the order they were joined.
    So the trainer has no choice left that depends on the order of its threads.

    Raises:
        BadInput: no words, or more characters than `options.size` has room for.
    """
    from kbert.text import WordPieceTokenizer

    counts = _counts(parts, options.do_lower_case)
    if not counts:
        raise BadInput("no text to learn a vocabulary from")
    alphabet, share = _alphabet(counts, options.limit_alphabet)
    # a word that is unknown for one of its characters has no pieces
    words = {word: n for word, n in counts.items() if alphabet.issuperset(word)}
    inside = {character for word in words for character in word[1:]}
    fixed = [
        *SPECIAL,
        *(f"[unused{k}]" for k in range(options.unused)),
        *sorted(alphabet),
        *(f"##{character}" for character in sorted(inside)),
    ]
    if len(fixed) > options.size:
        raise BadInput(
            f"size: found {options.size}, expected at least {len(fixed)}: {len(SPECIAL)} special "
            f"tokens, {options.unused} unused ones, {len(alphabet)} characters of which "
            f"{len(inside)} occur inside words too; limit_alphabet sets the most characters"
        )
    tokenizer = WordPieceTokenizer(_joined(words, fixed, options), lower_case=options.do_lower_case)
    facts = {
        "size": tokenizer.vocab_size,
        "alphabet": len(alphabet),
        "characters_covered": share,
        "words": sum(counts.values()),
        "distinct_words": len(counts),
    }
    return Learned(tokenizer, facts)


def measure(tokenizer: Any, sentences: Sequence[str]) -> dict[str, float]:
    """Share of [UNK] in the pieces, and pieces a word."""
    from kbert.text.pretokenize import Pretokenizer

    ids = tokenizer.ids(sentences).flat_values.numpy()
    words = len(Pretokenizer(tokenizer.lower_case).words(sentences))
    return {
        "unknown": float((ids == tokenizer.unk_id).mean()) if len(ids) else 0.0,
        "pieces_per_word": len(ids) / words if words else 0.0,
    }


def _counts(parts: Iterable[Sequence[str]], lower_case: bool) -> dict[str, int]:
    from kbert.text.pretokenize import Pretokenizer

    pretokenizer = Pretokenizer(lower_case)
    counts: Counter[bytes] = Counter()
    for part in parts:
        counts.update(pretokenizer.words(part))
    words = ((raw.decode(), n) for raw, n in counts.items())
    return {word: n for word, n in words if len(word) <= _LONGEST_WORD}


def _alphabet(counts: dict[str, int], most: int) -> tuple[set[str], float]:
    """The most frequent characters, and their share of all."""
    characters: Counter[str] = Counter()
    for word, n in counts.items():
        for character in word:
            characters[character] += n
    ordered = sorted(characters, key=lambda character: (-characters[character], character))
    kept = ordered[:most]
    return set(kept), sum(characters[c] for c in kept) / sum(characters.values())


def _joined(words: dict[str, int], fixed: list[str], options: VocabularyOptions) -> list[str]:
    """The vocabulary that begins with `fixed`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    model = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.size,
        min_frequency=options.min_frequency,
        show_progress=False,
        # ids in this order; it would give characters ids in the order of a hash table
        special_tokens=fixed,
    )
    model.train_from_iterator(_repeated(words), trainer)
    ids = model.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _repeated(words: dict[str, int]) -> Iterator[str]:
    """Each word as often as it occurs: the trainer counts for itself."""
    for word, n in words.items():
        for first in range(0, n, _TIMES):
            yield " ".join([word] * min(_TIMES, n - first))


VOCABULARY = Kind(
    files=(wordpiece_files.VOCABULARY, wordpiece_files.CONFIG, wordpiece_files.SPECIAL_MAP),
    learn=learn,
    measure=measure,
)
