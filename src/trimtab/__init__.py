"""trimtab: git for the model, a flight recorder for its predictions, and a statistician who decides."""

__version__ = "0.1.0"
