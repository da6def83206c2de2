"""Well-kept backbones that are worth a download, by modality and size of the weights file."""

from __future__ import annotations

from torchgraft.backbones.base import Offer
from torchgraft.core.errors import OptionError, did_you_mean

SIZES = {"small": 30, "medium": 150, "large": 500}
"""Each class of sizes, with what its weights files stay under, in 10^6 bytes."""


def _image(
    name: str, width: int, parameters: int, size: float, imagenet: float | None, note: str, licence: str = "apache-2.0"
) -> Offer:
    return _offer(f"timm/{name}", "image", width, parameters, size, licence, note, imagenet)


def _text(name: str, width: int, parameters: int, size: float, licence: str, note: str) -> Offer:
    return _offer(f"transformers/{name}", "text", width, parameters, size, licence, note)


def _offer(
    name: str, modality: str, width: int, parameters: int, size: float, licence: str, note: str,
    imagenet: float | None = None,
) -> Offer:  # fmt: skip
    """`size` is that of the weights file in 10^6 bytes."""
    return Offer(
        name=name,
        modality=modality,
        width=width,
        parameters=parameters,
        size=round(size * 1e6),
        licence=licence,
        note=note,
        imagenet=imagenet,
    )


# Widths, parameters and licences as timm builds and states them; accuracies: its results/results-imagenet.csv.
_IMAGES = (
    _image("mobilenetv4_conv_small.e2400_r224_in1k", 960, 1_261_664, 15.2, 73.76, "ImageNet-1k, 224 px, fastest"),
    _image("efficientnet_b0.ra4_e3600_r224_in1k", 1280, 4_007_548, 21.4, 78.57, "ImageNet-1k, 224 px"),
    _image("tiny_vit_5m_224.dist_in22k_ft_in1k", 320, 5_071_124, 21.6, 80.87, "ImageNet-22k, distilled, 224 px"),
    _image("edgenext_small.usi_in1k", 304, 5_281_224, 22.4, 81.07, "ImageNet-1k, distilled, 256 px", "mit"),
    _image("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 192, 5_524_416, 22.9, 75.45, "ImageNet-21k, 224 px"),
    _image("convnext_nano.in12k_ft_in1k", 640, 14_951_280, 62.4, 82.31, "ImageNet-12k, 224 px"),
    _image("vit_small_patch16_224.augreg_in21k_ft_in1k", 384, 21_665_664, 88.2, 81.40, "ImageNet-21k, 224 px"),
    _image("vit_small_patch14_dinov2.lvd142m", 384, 22_056_192, 88.2, None, "142 M photos, no labels, 518 px: slow"),
    _image("resnet50.a1_in1k", 2048, 23_508_032, 102.5, 80.38, "ImageNet-1k, 224 px"),
    _image("convnext_tiny.in12k_ft_in1k", 768, 27_818_592, 114.4, 84.19, "ImageNet-12k, 224 px"),
    _image("convnext_small.in12k_ft_in1k", 768, 49_453_152, 200.9, 85.16, "ImageNet-12k, 224 px"),
    _image("vit_base_patch16_224.augreg2_in21k_ft_in1k", 768, 85_798_656, 346.3, 85.11, "ImageNet-21k, 224 px"),
    _image(
        "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", 768, 85_799_424, 346.3, 86.20, "2 G captions, 12k, 224 px"
    ),
    _image("vit_base_patch14_dinov2.lvd142m", 768, 86_579_712, 346.3, None, "142 M photos, no labels, 518 px: slow"),
    _image("convnext_base.fb_in22k_ft_in1k", 1024, 87_564_416, 354.4, 85.81, "ImageNet-22k, 224 px"),
)

# Parameters without the pooler, which the provider leaves out. No encoder under 30 MB is known to be well kept.
_TEXTS = (
    _text("ibm-granite/granite-embedding-30m-english", 384, 30_147_456, 60.6, "apache-2.0", "English, 16 bit"),
    _text("thenlper/gte-small", 384, 33_212_160, 66.7, "mit", "English, 16 bit"),
    _text("sentence-transformers/all-MiniLM-L12-v2", 384, 33_212_160, 133.5, "apache-2.0", "English sentences"),
    _text("BAAI/bge-small-en-v1.5", 384, 33_212_160, 133.5, "mit", "English"),
    _text("Snowflake/snowflake-arctic-embed-m", 768, 108_891_648, 435.6, "apache-2.0", "English"),
    _text("sentence-transformers/all-mpnet-base-v2", 768, 108_895_872, 438.0, "apache-2.0", "English sentences"),
    _text("intfloat/multilingual-e5-small", 384, 117_505_920, 470.6, "mit", "many languages"),
    _text(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        384,
        117_505_920,
        470.6,
        "apache-2.0",
        "50 languages, sentences",
    ),
)

SUGGESTED = {"image": _IMAGES, "text": _TEXTS}


def suggested(modality: str, size: str) -> list[Offer]:
    """Those of one modality in one class of sizes, the smallest file first. Raises `OptionError`."""
    problems = [
        f"{what} expects {', '.join(known)}, got '{given}'.{did_you_mean(given, known)}"
        for what, given, known in (("modality", modality, SUGGESTED), ("size", size, SIZES))
        if given not in known
    ]
    if problems:
        raise OptionError(f"suggestions: {' '.join(problems)}")
    below = SIZES[size] * 10**6
    above = max((limit for limit in SIZES.values() if limit < SIZES[size]), default=0) * 10**6
    return sorted((one for one in SUGGESTED[modality] if above <= one.size < below), key=lambda one: one.size)
