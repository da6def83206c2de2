"""Handwritten digits with a network that has only seen photos: EfficientNet-Lite0, which comes with the install.

The book: grey 28 x 28 pictures are made large and given three channels, then go through an ImageNet network. Both is
done by the preprocessing that belongs to the weights. The probe is fitted first; LP-FT starts from it and trains all.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.digits(args.out)  # yours: "photos/", with a folder for each class
    # Real weights either way: the packaged ones need no download.
    backbone = "timm/efficientnet_b0.ra_in1k" if args.pretrained else "packaged/efficientnet_lite0"
    run = torchgraft.fit(
        data,
        backbone=backbone,
        method="linear_probe,lp_ft",
        # Leave out rate and epochs for real use: short trials find the rate, the epochs fit the data and the budget.
        # One epoch on the stand-in's 60 digits is too little to beat the probe, and the output says so.
        rate=3e-4,
        epochs=1,
        settings="batch=8",
        out=args.out / "mnist_imagenet_backbone",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
