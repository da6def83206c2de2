"""GPT-2 with a classification head on the last token.

The book: GPT2ForSequenceClassification. A causal network's last token is the only one that has seen the whole text, so
its features are the text's. Which token is the last is found by the mask, not by a padding token, which GPT-2 lacks.
"""

from __future__ import annotations

import stand_ins

import torchgraft


def main(argv: list[str] | None = None) -> None:
    args = stand_ins.arguments(__doc__, argv)
    data = args.data or stand_ins.reviews(args.out)  # yours: "texts.csv", with a column of texts and one of labels
    if args.pretrained:
        backbone = "transformers/openai-community/gpt2"
    else:
        backbone = stand_ins.text_network(args.out, "gpt2", n_embd=64, n_layer=2, n_head=2, n_positions=128)
    run = torchgraft.fit(
        data,
        backbone=backbone,
        method="linear_probe,lp_ft",  # the head is fitted to its minimum first, then everything trains
        rate=1e-4,  # leave it out, and short trials find one
        epochs=2,
        out=args.out / "gpt2_head",
    )
    stand_ins.show(run)


if __name__ == "__main__":
    main()
