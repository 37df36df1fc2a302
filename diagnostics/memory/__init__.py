"""Predicts a training's peak GPU memory from its config: what takes it, when, and whether it fits."""
