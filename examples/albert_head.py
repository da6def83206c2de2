"""ALBERT with a classification head, in two phases.

The book: AlbertForSequenceClassification, dropout and a softmax layer. ALBERT uses the weights of one layer again and
again, so there is no "last layer" to unfreeze: the head comes first, then all of it at a lower rate.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.reviews(args.out)  # yours: "texts.csv", with a column of texts and one of labels
    if args.pretrained:
        backbone = "transformers/albert/albert-base-v2"
    else:
        small = {"hidden_size": 64, "embedding_size": 32, "intermediate_size": 128}
        backbone = stand_ins.text_network(args.out, "albert", **small, num_hidden_layers=2, num_attention_heads=2)
    run = torchgraft.fit(
        data,
        backbone=backbone,
        method="linear_probe,head_then_full",
        rate=1e-3,  # of the head; all of it has a twentieth in the second phase, ALBERT's usual 5e-5
        epochs=4,  # half of them for each phase
        settings="unfrozen_rate=0.05",
        out=args.out / "albert_head",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
