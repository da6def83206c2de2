"""Cityscapes and Pascal VOC as they are unpacked: what their folders and masks mean, which no file beside them says.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016; Everingham et al., "The
Pascal Visual Object Classes Challenge: A Retrospective", IJCV 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from torchgraft.core.errors import DataError
from torchgraft.data._names import shown, split_of
from torchgraft.data._palette import Listed

CITYSCAPES = ("leftimg8bit", "gtfine")
"""Folder of images, folder of masks."""

VOC = ("jpegimages", "segmentationclass")

_INDICES = "_gtfine_labeltrainids"
_IDS = "_gtfine_labelids"

_STREET = {  # in the order of training; the number is the one in files of labelIds
    "road": (7, (128, 64, 128)), "sidewalk": (8, (244, 35, 232)), "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)), "fence": (13, (190, 153, 153)), "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)), "traffic sign": (20, (220, 220, 0)), "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)), "sky": (23, (70, 130, 180)), "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)), "car": (26, (0, 0, 142)), "truck": (27, (0, 0, 70)), "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)), "motorcycle": (32, (0, 0, 230)), "bicycle": (33, (119, 11, 32)),
}  # fmt: skip
_OBJECTS = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_LAST = 33


def cityscapes_masks(folder: PurePosixPath, keys: Sequence[str]) -> Sequence[str]:
    """Of the files in a folder of masks (paths in small letters, without suffix) those of class indices, one kind for
    all: labelTrainIds where there are some, else labelIds. None of the test part, whose masks are kept back: its files
    are empty. All of them in a folder that is not Cityscapes', by its name or its files'.
    """
    ending = _INDICES if any(key.endswith(_INDICES) for key in keys) else _IDS
    indices = [key for key in keys if key.endswith(ending)]
    if folder.name.lower() != CITYSCAPES[1] or not indices:
        return keys
    return [key for key in indices if split_of(key.partition("/")[0]) != "test"]


def voc_lists(folder: Path, images: PurePosixPath) -> dict[str, str] | None:
    """Stem -> split of the images that have masks, by `ImageSets/Segmentation`; None where it isn't there.

    Raises `DataError` for a list that can't be read.
    """
    if images.name.lower() != VOC[0]:
        return None
    found: dict[str, str] = {}
    for name in ("train", "val", "test"):
        path = folder / images.parent / "ImageSets" / "Segmentation" / f"{name}.txt"
        try:
            found |= dict.fromkeys(path.read_text(encoding="utf-8", errors="replace").split(), name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DataError(f"{shown(str(path), 200)} can't be read: {error.strerror}.") from error
    return found or None


def known_classes(masks: PurePosixPath, name: str) -> Listed | None:
    """What masks mean where nothing beside them says it; `name` is that of one of the files in the folder `masks`."""
    stem = name.lower().rpartition(".")[0]
    if masks.name.lower() == CITYSCAPES[1] and stem.endswith((_INDICES, _IDS)):
        numbers = tuple(value for value, _ in _STREET.values())
        values = tuple(range(len(_STREET))) if stem.endswith(_INDICES) else numbers
        void = tuple(sorted(set(range(_LAST + 1)) - set(values)))
        return Listed(
            names=(*_STREET, *["void"] * len(void)),
            values=values + void,
            colours=(*(colour for _, colour in _STREET.values()), *[(0, 0, 0)] * len(void)),
        )
    if masks.name.lower() == VOC[1]:
        return Listed(names=_OBJECTS, values=tuple(range(len(_OBJECTS))))
    return None
