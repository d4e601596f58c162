"""Polyport hosts several model containers behind one SageMaker-compatible endpoint."""

__version__ = "0.1.0"
