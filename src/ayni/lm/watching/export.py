"""A run's record for other programs: Parquet, and TensorBoard's event files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from ayni.lm.files import written
from ayni.lm.watching import events
from ayni.lm.watching.events import Scalar
from ayni.lm.watching.record import Row

RUN = "_run"  # the folder of what is no single site's; no site's name begins so
_LARGEST = 3.4028e38  # of float32, which TensorBoard's scalars are


def write_parquet(path: Path, run: str, rows: Iterable[Row]) -> int:
    """All rows as one table, a value a line; gives their number.

    Columns: at (UTC), version, step, tokens, what, site, language, value. What has no site or language
    has null there.

    Raises:
        UserError: the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    kept = [asdict(row) for row in rows]
    schema = pa.schema(
        [
            ("at", pa.timestamp("us", tz="UTC")),
            ("version", pa.int64()),
            ("step", pa.int64()),
            ("tokens", pa.int64()),
            ("what", pa.string()),
            ("site", pa.string()),
            ("language", pa.string()),
            ("value", pa.float64()),
        ],
        metadata={"run": run},
    )
    columns = {field.name: [row[field.name] for row in kept] for field in fields(Row)}
    columns["at"] = [round(at * 1e6) for at in columns["at"]]
    table = pa.table(columns, schema=schema)
    with written(path) as file:
        parquet.write_table(table, file, compression="zstd")
    return len(kept)


def write_tensorboard(folder: Path, rows: Iterable[Row]) -> list[Path]:
    """Event files: a folder for each site, so that sites are drawn in one chart, and one for the run.

    Written again they replace what was there. The steps are the run's inner steps.

    Raises:
        UserError: a file cannot be written.
    """
    by_run: dict[str, list[Scalar]] = defaultdict(list)
    for row in rows:
        pair = row.what == "cosine"
        run = RUN if pair or row.site is None else row.site
        of = [row.site.replace(" ", "-")] if pair and row.site else [row.language or ""]
        tag = "/".join([row.what, *filter(None, of)])
        value = min(max(row.value, -_LARGEST), _LARGEST)
        by_run[run].append(Scalar(row.at, row.step, tag, value))
    made = []
    for run, scalars in sorted(by_run.items()):
        began = min(one.at for one in scalars)
        path = folder / run / "events.out.tfevents.0.ayni"
        with written(path) as file:
            events.write(file, scalars, began)
        made.append(path)
    return made
