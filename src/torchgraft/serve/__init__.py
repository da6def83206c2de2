"""Using a graft on many samples: predictions as rows, and how good they are where labels are known."""

from torchgraft.serve.evaluate import compare, evaluate, held_out
from torchgraft.serve.inputs import Inputs, Item, open_inputs
from torchgraft.serve.predict import Row, predict, shifted, write_csv, write_jsonl

__all__ = [
    "Inputs",
    "Item",
    "Row",
    "compare",
    "evaluate",
    "held_out",
    "open_inputs",
    "predict",
    "shifted",
    "write_csv",
    "write_jsonl",
]
