"""torchgraft: transfer learning that says how sure it is."""

__version__ = "0.1.0"
