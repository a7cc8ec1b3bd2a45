"""A table of fits as a parquet file: columns that pandas, polars, DuckDB and astropy read without the others.

Nothing else here knows pyarrow, which is loaded only where such a file is asked for.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table

from payneflow.errors import SettingsError, SpectraError
from payneflow.files import whole_file
from payneflow.fitting.rows import BLOCK, StoredRows
from payneflow.stored_tables import MOST_SAID

_WHAT = "fits, as `payneflow fit` writes them (parquet)"
BLOCKS = 10  # of rows in a row group: readers skip and share out whole ones


def check_pyarrow() -> None:
    """Raise SettingsError where parquet files cannot be written, before anything is fitted for them."""
    try:
        import pyarrow.parquet  # noqa: F401 - is it there?
    except ImportError as error:
        raise SettingsError(f"--parquet needs pyarrow ({error}): pip install 'payneflow[parquet]'.") from None


def write_parquet(rows: StoredRows, path: str | Path) -> None:
    """Write the rows as parquet, whole or not at all, a row group for every BLOCKS blocks.

    Texts are UTF-8; the covariance is a list of n_label^2 numbers, row by row. An empty entry is null, or a text of no
    letters, from which ECSV does not tell it. Each field has its `unit` and `description`; the schema has the entries
    of the meta, as JSON, and the header of ECSV, where astropy looks for both.
    """
    import pyarrow.parquet

    schema = _schema(rows)
    with (
        whole_file(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema, write_page_checksum=True) as writer,
    ):
        waiting = []
        for block in rows.blocks():
            arrays = [_array(block[field.name], field.type) for field in schema]
            waiting.append(pyarrow.Table.from_arrays(arrays, schema=schema))
            if len(waiting) == BLOCKS:
                writer.write_table(pyarrow.concat_tables(waiting))
                waiting = []
        if waiting:
            writer.write_table(pyarrow.concat_tables(waiting))


def rows_of_parquet(path: str | Path) -> int:
    """How many rows the fits have that `write_parquet` wrote. Raises SpectraError for a file that is none, or cut."""
    with _opened(path) as file:
        return file.metadata.num_rows


def blocks_of_parquet(path: str | Path) -> Iterator[list[np.ndarray]]:
    """The columns of numbers of such a file, first of none and then BLOCK rows at a time; its CRCs are proved.

    Raises SpectraError likewise.
    """
    import pyarrow

    with _opened(path) as file:
        schema = file.schema_arrow
        none = pyarrow.RecordBatch.from_arrays([pyarrow.array([], field.type) for field in schema], schema=schema)
        for batch in chain([none], file.iter_batches(BLOCK)):
            yield [_numbers(array) for array in batch.columns if not pyarrow.types.is_string(array.type)]


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError as error:
        raise SpectraError(f"{path}: no such file; expected {_WHAT}.") from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())[:MOST_SAID]
        raise SpectraError(f"{path}: not readable ({said}); expected {_WHAT}.") from error


def _numbers(array) -> np.ndarray:
    """A column of numbers, (n,) or (n, n_value); a null is NaN, or 0 where they are whole, as in a digest of values."""
    import pyarrow

    is_list = pyarrow.types.is_fixed_size_list(array.type)
    values = array.flatten() if is_list else array
    if values.null_count and not pyarrow.types.is_floating(values.type):
        values = values.fill_null(0)
    numbers = values.to_numpy(zero_copy_only=False)
    return numbers.reshape(len(array), array.type.list_size) if is_list else numbers


def _schema(rows: StoredRows):
    import pyarrow

    empty, said = rows.empty(), {}
    fields = []
    for name in empty.colnames:
        column = empty[name]
        about = {"unit": str(column.unit or ""), "description": column.description or ""}
        if column.ndim > 1:
            about["shape"] = json.dumps(column.shape[1:])
        if column.dtype.kind == "U":
            said[f"table::len::{name}"] = str(column.dtype.itemsize // 4)  # letters, for astropy
        fields.append(pyarrow.field(name, _kind(empty, name), metadata=_as_bytes(about)))
    said |= {name: json.dumps(value, ensure_ascii=False) for name, value in rows.meta.items()}
    said["table_meta_yaml"] = "\n".join(get_yaml_from_table(empty))
    return pyarrow.schema(fields, metadata=_as_bytes(said))


def _kind(table: Table, name: str):
    import pyarrow

    column = table[name]
    if column.dtype.kind == "U":
        return pyarrow.string()
    kind = pyarrow.from_numpy_dtype(column.dtype)
    return kind if column.ndim == 1 else pyarrow.list_(kind, int(np.prod(column.shape[1:])))


def _as_bytes(said: dict[str, str]) -> dict[bytes, bytes]:
    return {
        name.encode("utf-8", "backslashreplace"): text.encode("utf-8", "backslashreplace")
        for name, text in said.items()
    }


def _array(column: Any, kind):
    import pyarrow

    values, mask = np.ma.getdata(column), np.ma.getmaskarray(column)
    if column.dtype.kind == "U":
        texts = (str(text).encode("utf-8", "backslashreplace").decode() for text in np.ma.filled(column, ""))
        return pyarrow.array(texts, kind)
    if column.ndim == 1:
        return pyarrow.array(np.ascontiguousarray(values), kind, mask=mask)
    flat = pyarrow.array(np.ascontiguousarray(values).ravel(), kind.value_type, mask=mask.ravel())
    return pyarrow.FixedSizeListArray.from_arrays(flat, type=kind)
