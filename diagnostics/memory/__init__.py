"""Predicts a training's peak of GPU memory from its config: what takes it, and whether it fits."""
