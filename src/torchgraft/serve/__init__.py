"""Using a graft: predictions as rows or as maps, how good they are where labels are known, a file for elsewhere."""

from torchgraft.core.lazy import lazy
from torchgraft.serve.evaluate import compare, evaluate, held_out
from torchgraft.serve.export import Written, export
from torchgraft.serve.inputs import Inputs, Item, open_inputs
from torchgraft.serve.maps import MapRow, predict_maps, write_maps_csv
from torchgraft.serve.predict import Row, predict, shifted, write_csv, write_jsonl

__all__ = [
    "Inputs",
    "Item",
    "MapRow",
    "Row",
    "Written",
    "adapted",
    "compare",
    "evaluate",
    "export",
    "held_out",
    "open_inputs",
    "predict",
    "predict_maps",
    "shifted",
    "write_csv",
    "write_jsonl",
    "write_maps_csv",
]

# what loads torch waits until it is asked for
__getattr__ = lazy(__name__, {"adapted": "torchgraft.serve.adaptive"})
