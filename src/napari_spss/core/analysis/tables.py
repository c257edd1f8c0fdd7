"""Tables of a measurement as CSV files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from pydantic import TypeAdapter

from ..annotations import read_rows, write_rows
from ..base import ResultFiles
from .estimates import Estimate
from .fractions import Measurement

if TYPE_CHECKING:
    from ..base import VoxelSize


def write_measurement(
    results: ResultFiles, measurement: Measurement, *, done_as: str = ""
) -> tuple[Path, ...]:
    """Write the tables as CSV: ``NAME.csv`` (slices), ``NAME_stack.csv``, ``NAME_objects.csv``.

    All are written whole or not at all. A number that is not known is a blank cell.

    Parameters
    ----------
    results : ResultFiles
        Of `measurement_results`.
    measurement : Measurement
        Result of :func:`measure`.
    done_as : str
        See `ResultFiles.writing`.

    Returns
    -------
    tuple of Path
        Tables of slices, stack and objects.

    Raises
    ------
    InputError
        If something is in the way.
    RunError
        If a file cannot be written.
    """
    with results.writing(done_as=done_as) as folder:
        write_tables(measurement, folder / results.names[0])
    return tuple(results.folder / name for name in results.names)


def measurement_results(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    voxel_size_um: VoxelSize | None = None,
    overwrite: bool | None = False,
) -> ResultFiles:
    """Files that `write_measurement` writes.

    Parameters
    ----------
    path : path
        Path of the table of slices; the others are named after it.
    labels : path, optional
        The file or folder that was measured. Tables of the same one are replaced unasked.
    voxel_size_um : tuple of float or None, optional
        With which it was measured. Tables of another size are not replaced unasked.
    overwrite : bool or None
        Whether other files of these names may be replaced.
    """
    main = Path(path)
    source = None if labels is None else Path(labels)
    return ResultFiles(
        main.parent,
        main.name,
        table_names(main.name),
        None
        if source is None
        else {"label image": str(source.resolve()), "voxel size": str(voxel_size_um)},
        inputs=() if source is None else (source,),
        overwrite=overwrite,
        made_by={} if source is None else source,
    )


def table_names(name: str) -> tuple[str, str, str]:
    """Names of the tables of slices, stack and objects, from that of the first."""
    main = Path(name)
    return (name, f"{main.stem}_stack{main.suffix}", f"{main.stem}_objects{main.suffix}")


def write_tables(measurement: Measurement, path: Path) -> None:
    """Write the tables of a measurement, replacing those that are there; see `write_measurement`.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    tables = (measurement.slices, measurement.stack, measurement.objects)
    for name, table in zip(table_names(path.name), tables, strict=True):
        write_table(path.with_name(name), table)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write one table as a CSV file, replacing what is there; what is not known is a blank cell.

    Raises
    ------
    RunError
        If the file cannot be written.
    """
    rows = table.itertuples(index=False, name=None)
    cells = (["" if pd.isna(value) else value for value in row] for row in rows)
    write_rows(path, [list(table.columns), *cells])


def write_estimates(
    results: ResultFiles,
    estimates: Iterable[Estimate],
    contradicted: pd.DataFrame | None,
    *,
    done_as: str = "",
) -> tuple[Path, ...]:
    """Write CSV files: a row for each estimate, and one for each contradicted node.

    Parameters
    ----------
    results : ResultFiles
        Of `estimate_results`.
    estimates : iterable of Estimate
        Of `estimate_fractions`; a number that is not known is a blank cell.
    contradicted : DataFrame or None
        Of `contradicted_nodes`; without, there is one file.
    done_as : str
        See `ResultFiles.writing`.

    Raises
    ------
    InputError
        If something is in the way.
    RunError
        If a file cannot be written.
    """
    with results.writing(done_as=done_as) as folder:
        names = write_estimate_tables(folder / results.names[0], estimates, contradicted)
    return tuple(results.folder / name for name in names)


def estimate_results(
    path: Path, *, labels: Path, inputs: Iterable[Path | None], overwrite: bool | None
) -> ResultFiles:
    """Files that `write_estimates` writes, from labels and other inputs, where there are any."""
    return ResultFiles(
        path.parent,
        path.name,
        estimate_names(path.name),
        {"label image": str(labels.resolve())},
        inputs=(labels, *(one for one in inputs if one is not None)),
        overwrite=overwrite,
        made_by=labels,
    )


def estimate_names(name: str) -> tuple[str, str]:
    """Names of the tables of estimates and of contradicted nodes, from that of the first."""
    main = Path(name)
    return (name, f"{main.stem}_contradicted{main.suffix}")


def write_estimate_tables(
    path: Path, estimates: Iterable[Estimate], contradicted: pd.DataFrame | None
) -> tuple[str, ...]:
    """Write the tables of estimates, replacing those that are there; return their names.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    columns = {field.name: field.name for field in fields(Estimate)} | {"name": "class"}
    table = pd.DataFrame(list(estimates), columns=list(columns)).rename(columns=columns)
    tables = [table] if contradicted is None else [table, contradicted]
    names = estimate_names(path.name)[: len(tables)]
    for name, one in zip(names, tables, strict=True):
        write_table(path.with_name(name), one)
    return names


def read_estimates(path: Path) -> tuple[Estimate, ...]:
    """Read a table that `write_estimate_tables` has written."""
    rows = [
        {"name" if key == "class" else key: cell or "nan" for key, cell in row.items()}
        for row in read_rows(path)
    ]
    return TypeAdapter(tuple[Estimate, ...]).validate_python(rows)
