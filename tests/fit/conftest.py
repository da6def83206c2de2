"""Small data sets for the main job: feature arrays, texts, and photos with a tiny local backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """120 rows of 8 features in three classes that a linear head tells apart with few mistakes."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    x = rng.normal(size=(120, 8)) + 1.5 * np.eye(8)[y]
    path = tmp_path / "rows.npz"
    np.savez(path, X=x.astype(np.float32), y=np.array(["ant", "bee", "cat"])[y])
    return path


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """80 short texts whose words decide the label, one of them with markup in it."""
    rng = np.random.default_rng(1)
    words = {"good": ["lovely", "great", "warm", "fine"], "bad": ["awful", "torn", "cold", "cheap"]}
    rows = ["text,label"]
    for i in range(80):
        label = ("good", "bad")[i % 2]
        rows.append(f"the {rng.choice(words[label])} {rng.choice(words[label])} coat number {i},{label}")
    rows[5] = "<script>alert('coat')</script> awful torn cold,bad"
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path
