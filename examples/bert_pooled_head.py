"""BERT with a pooled head: the tokens' mean, a dense layer with dropout, softmax; everything trains.

The book: TFBertModel, pooling over the tokens, Dense(64, relu), Dropout, Dense(classes), a small rate, few epochs.
Pooling leaves out the padding. Without --pretrained it is MiniLM, a BERT of six layers with real weights.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.reviews(args.out)  # yours: "texts.csv", with a column of texts and one of labels
    backbone = "transformers/google-bert/bert-base-uncased" if args.pretrained else "packaged/minilm_l6"
    run = torchgraft.fit(
        data,
        backbone=backbone,
        # The probe is the frozen network; the few steps of a demo don't bring a random head as far. Yours may.
        method="linear_probe,full",
        rate=5e-5 if args.pretrained else 5e-4,  # MiniLM is narrow: it wants more than BERT's usual 5e-5
        epochs=2,
        settings="hidden=64,dropout=0.1,batch=8",
        out=args.out / "bert_pooled_head",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
