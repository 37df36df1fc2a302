"""Runs one training step of real model code on tensors without data, and records its memory."""
