"""VGG16, frozen, with a new classifier.

The book: the convolutions of VGG16 give features for the pictures once, and a new classifier learns from these. No
gradient reaches the network, so the features are computed once, kept, and every classifier costs next to nothing.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.digits(args.out)  # yours: "photos/", with a folder for each class
    if args.pretrained:
        backbone = "torchvision/vgg16"
    else:  # all 13 convolutions as they are; the old classifier, which is cut off, as small as it gets
        backbone = stand_ins.timm_network(args.out, "vgg16", size=32, mlp_ratio=0.01)
    run = torchgraft.fit(
        data,
        backbone=backbone,
        # Three classifiers on the same features. The simplest is shipped unless a later one beats it beyond noise.
        method="lda,linear_probe,knn",
        out=args.out / "vgg16_new_classifier",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
