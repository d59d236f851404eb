"""Apache Parquet, by pyarrow; a column holds the documents."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from kbert.errors import BadInput, nearest
from kbert.pretrain.corpora import Layout, Reading
from kbert.pretrain.corpora._rows import text_of
from kbert.pretrain.unpacking import Unpacked

_ROWS = 64
# of the compressed column in memory, whatever the row groups
_BUFFER = 1 << 20


def read(file: Unpacked, how: Reading) -> Iterator[list[str]]:
    """A document a row; its sentences end at line breaks and where the splitter says."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput(f"{file.where}: needs pyarrow; run: pip install 'kbert-tf[data]'") from None
    with tempfile.TemporaryFile() as space:
        try:
            source = _seekable(file, space)
            table = pyarrow.parquet.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)
            names = table.schema_arrow.names
            if how.field not in names:
                raise BadInput(f"{file.where}: no column {how.field!r}{nearest(how.field, names)}")
            number = 0
            for batch in table.iter_batches(_ROWS, columns=[how.field], use_threads=False):
                for value in batch.column(0):
                    number += 1
                    where = f"{file.where}: row {number}"
                    text = text_of({how.field: _plain(value, where)}, how.field, where)
                    file.read_so_far(len(text.encode()), number / table.metadata.num_rows)
                    yield how.sentences(text)
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BadInput(f"{file.where}: not a whole Parquet file: {reason}") from None


def _plain(value: Any, where: str) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        raise BadInput(f"{where}: found bytes that are not UTF-8") from None


def _seekable(file: Unpacked, space: Any) -> Any:
    """The file itself, or what is packed in it on the disk, as its table is at the end."""
    if file.file() is not None:
        return file.file()
    while part := file.read(1 << 20):
        space.write(part)
    space.seek(0)
    return space


LAYOUT = Layout(suffixes=(".parquet",), begins=lambda head: head.startswith(b"PAR1"), read=read)
