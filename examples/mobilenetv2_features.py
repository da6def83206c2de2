"""MobileNetV2 as a feature extractor under a softmax layer.

The book: base_model.trainable = False, GlobalAveragePooling2D, Dense(classes), and some epochs of Adam. Softmax on
frozen features is a convex problem, so its exact minimum is computed here instead; no rate, no epochs. The strength of
its penalty is chosen on held-out samples.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.digits(args.out)  # yours: "photos/", with a folder for each class
    if args.pretrained:
        backbone = "timm/mobilenetv2_100.ra_in1k"
    else:  # MobileNetV2 of half the width
        backbone = stand_ins.timm_network(args.out, "mobilenetv2_050", size=64)
    run = torchgraft.fit(
        data,
        backbone=backbone,
        method="linear_probe",
        out=args.out / "mobilenetv2_features",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
