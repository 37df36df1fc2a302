"""Owns the recording: every storage that torch makes or frees while it is active."""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diagnostics.memory.trace import Event, Stretch


class Recorder(TorchDispatchMode):  # type: ignore[misc]
    """A dispatch mode that writes a trace, stretch by stretch."""

    def __init__(self) -> None:
        super().__init__()
        self.stretches = [Stretch("load")]
        self._known: dict[int, tuple[Any, int, int | None]] = {}
        self._count = 0
        self._layer: int | None = None
        self._inherits = False

    def enter(self, part: str, layer: int | None = None) -> None:
        """Begin a stretch: what follows belongs to it."""
        self.stretches.append(Stretch(part, layer))

    @property
    def part(self) -> str:
        """The part of the step that runs."""
        return self.stretches[-1].part

    @contextmanager
    def belonging_to(self, layer: int | None) -> Iterator[None]:
        """Give what is made to a layer."""
        self._layer = layer
        try:
            yield
        finally:
            self._layer = None

    @contextmanager
    def inheriting(self) -> Iterator[None]:
        """Give what is made to the layer of what it was made from."""
        self._inherits = True
        try:
            yield
        finally:
            self._inherits = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        del types
        product = None
        if func is torch.ops.aten._softmax_backward_data.default:
            # CUDA's kernel works on the product of gradient and output (SoftMax.cu).
            product = torch.mul(args[0], args[1])
            self._see(product, None)
        out = func(*args, **(kwargs or {}))
        for place, one in enumerate(tree_leaves(out)):
            if isinstance(one, torch.Tensor):
                self._see(one, self._heir(args, place) if self._inherits else self._layer)
        del product
        return out

    def _heir(self, args: Sequence[Any], place: int) -> int | None:
        first = args[0] if args else None
        if isinstance(first, list | tuple):
            first = first[place] if place < len(first) else None
        if not isinstance(first, torch.Tensor):
            return None
        known = self._known.get(first.untyped_storage()._cdata)
        return known[2] if known else None

    def _see(self, tensor: Any, layer: int | None) -> None:
        if tensor.is_meta:
            return  # a part of the model that is not yet in memory
        storage = tensor.untyped_storage()
        address = storage._cdata
        size = storage.nbytes()
        if not size or address in self._known:
            return
        stretch = self.stretches[-1]
        layer = layer if stretch.layer is None else stretch.layer
        self._count += 1
        block = self._count

        def gone(_: object) -> None:
            self._known.pop(address, None)
            self.stretches[-1].events.append(Event(block, 0))

        self._known[address] = (weakref.ref(storage, gone), block, layer)
        stretch.events.append(Event(block, size, layer))
