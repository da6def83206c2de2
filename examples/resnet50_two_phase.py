"""ResNet-50 in two phases: a dense layer of 1024 on the pooled features first, then the last 10 layers as well.

The book: include_top=False, GlobalAveragePooling2D, Dense(1024, relu), Dense(classes, softmax); train these with the
rest frozen, then unfreeze the last 10 layers and go on at a lower rate.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.digits(args.out)  # yours: "photos/", with a folder for each class
    if args.pretrained:
        backbone = "timm/resnet50.a1_in1k"
    else:  # the same 50 layers, a quarter as wide
        backbone = stand_ins.timm_network(args.out, "resnet50", size=64, channels=[16, 32, 64, 128])
    run = torchgraft.fit(
        data,
        backbone=backbone,
        # The probe is what the frozen network gives with the best linear head. The two phases have to beat it.
        method="linear_probe,head_then_full",
        rate=1e-3,  # of the first phase; the second one has a tenth of it (unfrozen_rate)
        epochs=4,  # half of them for each phase
        # `last` counts blocks, not Keras's layers: ResNet-50 has 16 of them, and a stem.
        settings="hidden=1024,last=10,unfrozen_rate=0.1",
        out=args.out / "resnet50_two_phase",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
