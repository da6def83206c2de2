"""A path to samples: the first reader of this room that accepts it reads it."""

from __future__ import annotations

from pathlib import Path

from torchgraft.core import registry
from torchgraft.core.errors import DataError, did_you_mean
from torchgraft.data._names import PICKLES, contents, shown
from torchgraft.data.base import ReadOptions, Samples

_LAYOUTS = """Understood are:
  images: FOLDER/<class>/*.jpg, FOLDER/train|val|test/<class>/*.jpg, a folder with metadata.csv|jsonl|parquet \
(file_name and a label column), a folder of images without labels, or one image;
  scenes: FOLDER/images/*.jpg with FOLDER/masks/*.png of the same names, also in FOLDER/train|val|test;
  texts: a .csv, .tsv, .jsonl or .parquet file, or a folder with train|val|test of them;
  feature arrays: .npz or .mat with X (N x D) and y (N), or .npy with X alone."""
_FOUND_BY_NAME = ReadOptions()


def read(path: Path | str, options: ReadOptions = _FOUND_BY_NAME) -> Samples:
    """Read labels and names of a data set; images are not decoded yet.

    Raises `DataError` where the path is missing, empty, unreadable, or of no layout that a reader understands, and
    `OptionError` where an option names a column that is not there. What was skipped stands in `Samples.findings`.
    """
    path = Path(path).expanduser()
    try:
        _must_exist(path)
        _refuse_pickles(path)
        for name in registry.names("data"):
            reader = registry.get("data", name)
            if reader.accepts(path):
                return reader.read(path, options)
        raise DataError(_nothing_fits(path))
    except OSError as error:
        named = shown(str(error.filename or path), 200)
        raise DataError(
            f"{named} can't be read: {(error.strerror or str(error)).lower()}. Check its permissions."
        ) from error


def _must_exist(path: Path) -> None:
    if "\0" in str(path):
        raise DataError(f"{shown(str(path))} is no path: it holds a null character.")
    if path.exists():
        return
    if path.is_symlink():
        raise DataError(f"{shown(str(path), 200)} is a link to something that does not exist.")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise DataError(f"{shown(str(path), 200)} does not exist: {shown(str(parent), 200)} is a file, not a folder.")
    missing = path.absolute().relative_to(parent).parts[0]
    near = did_you_mean(missing, [p.name for p in parent.iterdir()])
    raise DataError(
        f"{shown(str(path), 200)} does not exist.{near} {shown(str(parent), 200)} holds {contents(parent)}."
    )


def _refuse_pickles(path: Path) -> None:
    if path.is_file() and any(suffix.lower() in PICKLES for suffix in path.suffixes[-2:]):
        raise DataError(
            f"{shown(str(path), 200)} is a {path.suffix} file: opening it means unpickling, which runs whatever "
            "code is in it, so torchgraft never does. Save the arrays instead where you trust the file: "
            "np.savez('data.npz', X=X, y=y), or safetensors for weights."
        )


def _nothing_fits(path: Path) -> str:
    if path.is_dir():
        return f"{shown(str(path), 200)} holds no data that torchgraft understands. Found {contents(path)}. {_LAYOUTS}"
    kind = f"a {path.suffix} file" if path.suffix else "a file without a suffix"
    return f"{shown(str(path), 200)} is {kind}. {_LAYOUTS}"
