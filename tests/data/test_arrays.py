from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import io as matlab
from scipy import sparse

from torchgraft.core.errors import DataError, OptionError
from torchgraft.data import ReadOptions, read
from torchgraft.data._check import check

X = np.arange(12, dtype=np.float64).reshape(4, 3)
Y = np.array([2, 10, 2, 10])


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(("x", "y"), [("X", "y"), ("x", "labels"), ("features", "target"), ("fts", "label")])
def test_npz(tmp_path: Path, x: str, y: str) -> None:
    samples = read(npz(tmp_path / "a.npz", **{x: X, y: Y}))
    assert samples.modality == "array"
    assert samples.x.dtype == np.float32
    np.testing.assert_array_equal(samples.x, X)
    assert samples.classes == ("2", "10")
    assert samples.y.tolist() == [0, 1, 0, 1]
    assert samples.ids[3] == "a.npz[3]"


def test_npz_with_splits(tmp_path: Path) -> None:
    samples = read(npz(tmp_path / "a.npz", X_train=X, y_train=Y, x_test=X[:2], y_test=np.array([2, 3])))
    assert samples.split.tolist() == ["train"] * 4 + ["test"]
    assert samples.ids[-1] == "a.npz[test 0]"
    assert [finding.kind for finding in samples.findings] == ["unknown_label"]


def test_parts_of_different_widths_are_named(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", X_train=X, y_train=Y, X_test=X[:2, :2], y_test=Y[:2])
    with pytest.raises(DataError, match=r"X_train 4 x 3, X_test 2 x 2\. Expected the same number of features"):
        read(path)


def test_npy_is_unlabelled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    samples = read(tmp_path / "a.npy")
    assert samples.y.tolist() == [-1] * 4
    assert samples.classes == ()


def test_mat(tmp_path: Path) -> None:
    matlab.savemat(tmp_path / "a.mat", {"fts": X.astype(np.uint8), "labels": Y[:, None]})
    samples = read(tmp_path / "a.mat")
    np.testing.assert_array_equal(samples.x, X)
    assert samples.classes == ("2", "10")
    matlab.savemat(tmp_path / "s.mat", {"X": sparse.csc_matrix(X), "y": Y})
    np.testing.assert_array_equal(read(tmp_path / "s.mat").x, X)


def test_mat_of_version_7_3(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(DataError, match=r"v7\.3 file, which is HDF5.*'-v7'"):
        read(path)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.array([1.0, 0.0, 1.0, 0.0]), ("0", "1")),
        (np.array(["b", "a", "b", "a"]), ("a", "b")),
        (np.array([b"x", b"y"] * 2), ("x", "y")),
    ],
)
def test_kinds_of_labels(tmp_path: Path, y: np.ndarray, classes: tuple[str, ...]) -> None:
    assert read(npz(tmp_path / "a.npz", X=X, y=y)).classes == classes


def test_missing_labels(tmp_path: Path) -> None:
    samples = read(npz(tmp_path / "a.npz", X=X, y=np.array([1, np.nan, 0, 1])))
    assert samples.y.tolist() == [1, -1, 0, 1]


def test_named_arrays(tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", X=X, kind=Y, who=np.array(["p", "q", "p", "q"]))
    samples = read(path, ReadOptions(label="kind", group="who"))
    assert samples.classes == ("2", "10")
    assert samples.group.tolist() == ["p", "q", "p", "q"]
    with pytest.raises(OptionError, match=r"--label 'kin'.*Did you mean 'kind'\? Arrays: X, kind, who"):
        read(path, ReadOptions(label="kin"))
    with pytest.raises(DataError, match=r"the group array is 4 x 3"):
        read(path, ReadOptions(label="kind", group="X"))


def test_rows_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    x = np.ones((5, 3))
    x[1, 0], x[3, 2], x[4, 1] = np.nan, np.inf, 1e200  # the last overflows float32
    samples = read(npz(tmp_path / "a.npz", X=x, y=np.arange(5) % 2))
    assert samples.ids == ("a.npz[0]", "a.npz[2]")
    (finding,) = samples.findings
    assert (finding.kind, finding.count, finding.action) == ("not_finite", 3, "left out")
    with pytest.raises(DataError, match="3 of 3 rows hold NaN or Inf"):
        read(npz(tmp_path / "b.npz", X=x[[1, 3, 4]], y=np.arange(3)))


def bad(path: Path, **arrays: object) -> str:
    with pytest.raises(DataError) as caught:
        read(npz(path, **arrays))
    return str(caught.value)


def test_shapes_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert "X must be N x D" in bad(path, X=np.ones((2, 3, 4)), y=Y)
    assert "got 2 x 3 x 4. Make one row of each sample: X.reshape(len(X), -1)" in bad(path, X=np.ones((2, 3, 4)), y=Y)
    assert "got 4." in bad(path, X=np.ones(4), y=Y)
    assert "got 0 x 3" in bad(path, X=np.ones((0, 3)), y=[])
    assert "one label for each of N = 4 rows of X (4 x 3); got 5" in bad(path, X=X, y=np.arange(5))
    assert "X seems to be D x N: save X.T" in bad(path, X=X, y=np.arange(3))
    assert "If y is one-hot, save y.argmax(1)" in bad(path, X=X, y=np.eye(4))


def test_values_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    assert "X holds values of type complex128" in bad(path, X=X + 1j, y=Y)
    assert "X holds values of type <U1" in bad(path, X=np.array([["a"]]), y=["b"])
    assert "numbers with decimals, such as 0.5: a quantity, not classes" in bad(path, X=X, y=np.array([0, 0.5, 1, 2]))
    assert "no array called X. Expected X (N x D) and y (N)" in bad(path, foo=X)
    assert "Found foo (4 x 3)" in bad(path, foo=X)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (os.abort, ())

    trap = np.array([Trap()] * 4, dtype=object)
    assert "array 'y' holds Python objects" in bad(tmp_path / "a.npz", X=X, y=trap)
    np.save(tmp_path / "b.npy", trap)
    with pytest.raises(DataError, match=r"runs whatever code is in it.*y\.astype\(str\)"):
        read(tmp_path / "b.npy")


def test_a_header_that_promises_terabytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 10)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", buffer.getvalue() + bytes(64))
    (tmp_path / "b.npy").write_bytes(buffer.getvalue() + bytes(64))
    for name in ("a.npz", "b.npy"):
        with pytest.raises(DataError, match="more memory than this machine has"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.mat"])
def test_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for content in (b"", b"nothing of the kind", b"PK\x03\x04" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is empty|is damaged or no \.\w+ file"):
            read(path)
    save = {
        "a.npz": lambda: np.savez(path, X=X, y=Y),
        "a.npy": lambda: np.save(path, X),
        "a.mat": lambda: matlab.savemat(path, {"X": X, "y": Y}),
    }
    save[name]()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"damaged"):
        read(path)


@pytest.mark.shared
def test_office_caltech10_surf(shared_data: Path) -> None:
    sizes = {"amazon": 958, "caltech10": 1123, "dslr": 157, "webcam": 295}
    for name, size in sizes.items():
        samples = read(shared_data / "office_caltech10_surf" / f"{name}.mat")
        assert samples.x.shape == (size, 800)
        assert samples.classes == tuple(str(i) for i in range(1, 11))
    kept, findings = check(samples)
    assert len(kept) == 295
    assert all(finding.severity != "error" for finding in findings)
