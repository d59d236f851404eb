"""Apache Parquet, by pyarrow. A list column holds the labels of a row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from kbert.data.table import Format, Table
from kbert.errors import BadInput


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise BadInput('.parquet files need pyarrow: pip install "kbert-tf[data]"') from None
    return pyarrow


def read(raw: bytes, where: str) -> Table:
    """All columns; a file has no lines, so rows are counted from 1."""
    pyarrow = _pyarrow()
    with _whole(pyarrow, where):
        return _table(pyarrow.parquet.read_table(pyarrow.BufferReader(raw)), where)


def stream(file: BinaryIO, where: str, most: int) -> Iterator[Table]:
    """The same, at most so many rows at a time; a group of rows is in memory."""
    pyarrow, before = _pyarrow(), 0
    with _whole(pyarrow, where):
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(most):
            yield _table(batch, where, before)
            before += len(batch)


@contextlib.contextmanager
def _whole(pyarrow: Any, where: str) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{where}: not a whole Parquet file: {reason}") from None


def _table(found: Any, where: str, before: int = 0) -> Table:
    names = found.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{where}: two columns are called {twice[0]!r}")
    columns = {name: found.column(name).to_pylist() for name in names}
    return Table(where, columns, range(before + 1, before + len(found) + 1), "row")


def write(header: Sequence[str], rows: Sequence[Mapping[str, Any]], file: BinaryIO) -> None:
    """A column a name; types follow from the values.

    Raises:
        BadInput: a column holds values of several types.
    """
    pyarrow = _pyarrow()
    columns = {}
    for name in header:
        try:
            columns[name] = pyarrow.array([row[name] for row in rows])
        except pyarrow.ArrowException as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"column {name!r} cannot be written as Parquet: {reason}") from None
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


FORMAT = Format(".parquet", keeps_columns=True, read=read, write=write, binary=True, stream=stream)
