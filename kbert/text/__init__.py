"""Text to token ids and offsets, as TensorFlow graphs.

tokenizer = WordPieceTokenizer.from_directory("bert-base-uncased")
tokens = tokenizer(["a text"])                   # ids, byte starts, byte ends; ragged
features = pack(tokens.ids, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id,
                pad_id=tokenizer.pad_id, max_length=128)
"""

from kbert.text.packing import pack
from kbert.text.wordpiece import Tokens, WordPieceTokenizer

__all__ = ["Tokens", "WordPieceTokenizer", "pack"]
