from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from torchgraft.core import registry
from torchgraft.core.errors import DataError
from torchgraft.data import ReadOptions, read
from torchgraft.data.base import Samples


def test_the_readers_are_the_files_of_the_room() -> None:
    assert registry.names("data") == ("arrays", "image_folder", "segmentation_pairs", "table")
    for name in registry.names("data"):
        reader = registry.get("data", name)
        assert callable(reader.accepts)
        assert callable(reader.read)


def test_each_reader_gets_its_own_layout(image, write) -> None:
    image("photos/a/1.png")
    assert read(image("photos/b/1.png", 1).parents[1]).modality == "image"
    assert read(str(write("t.csv", "text,label\na b,x\nc d,y\n"))).modality == "text"


def test_a_missing_path_offers_a_near_miss(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    with pytest.raises(DataError, match=r"flowrs does not exist. Did you mean 'flowers'\?"):
        read(tmp_path / "flowrs")
    with pytest.raises(DataError, match=r"Did you mean 'flowers'\?.*holds 1 folder \(flowers\)"):
        read(tmp_path / "flower" / "train" / "roses")


def test_a_path_below_a_file(write) -> None:
    with pytest.raises(DataError, match=r"a\.csv is a file, not a folder"):
        read(write("a.csv", "text\nx\n") / "train")


def test_a_broken_link_and_a_null_character(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="link to something that does not exist"):
        read(tmp_path / "link")
    with pytest.raises(DataError, match="null character"):
        read("a\0b")


def test_an_empty_folder_is_told_what_is_understood(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Found nothing. Understood are:\n  images: FOLDER/<class>/\*\.jpg"):
        read(tmp_path)


def test_a_strange_folder_and_file_are_described(write) -> None:
    path = write("d/notes.txt", "hello")
    with pytest.raises(DataError, match=r"Found 1 file \(notes\.txt\)"):
        read(path.parent)
    with pytest.raises(DataError, match=r"is a \.txt file"):
        read(path)


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.pkl", "m.pickle", "m.joblib", "m.pkl.gz", "M.PT"])
def test_nothing_is_unpickled(write, name: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (os.abort, ())

    with pytest.raises(DataError, match=r"runs whatever code is in it.*np\.savez"):
        read(write(name, pickle.dumps(Trap())))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(write) -> None:
    path = write("t.csv", "text,label\na,x\n")
    path.chmod(0)
    with pytest.raises(DataError, match=r"t\.csv can't be read: permission denied"):
        read(path)


def test_an_error_of_the_system_names_path_and_cause(write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("t.csv", "text,label\na,x\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"t\.csv can't be read: permission denied\. Check its permissions"):
        read(path)


def test_options_reach_the_reader(write) -> None:
    path = write("t.csv", "a,b\nx y z,1\nu v w,2\nx y w,1\nu v z,2\n")
    samples = read(path, ReadOptions(text="b", label="a"))
    assert isinstance(samples, Samples)
    assert samples.x == ["1", "2", "1", "2"]


def test_the_room_is_light() -> None:
    import subprocess
    import sys

    code = "import sys, torchgraft.data; print([m for m in ('torch', 'sklearn', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
