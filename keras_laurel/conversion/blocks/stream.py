"""What blocks hand on to the blocks after them: previous activations."""

import contextlib
import threading
import uuid

from keras import ops


class ResidualStream:
    """The skips of one pass, as the residual connections after them need it.

    A transformer block is called on its input alone, so what is known of
    earlier activations travels here. With a low-rank map these are codes, `r`
    numbers a token: when `x_n` appears, one product takes its
    down-projections for connection n and for those after it. Otherwise it is
    `x_n` itself.

    Each thread has a pass of its own. It starts at connection 0 and ends
    after the last; a connection out of turn raises.

    Args:
        layers: List of the `Laurel` layers in the order they run, `None` for
            those of blocks that a model does not have.
        id: String by which its blocks find one another when they are loaded.
    """

    def __init__(self, layers, id=None):
        self.layers = layers
        self.id = id or uuid.uuid4().hex
        self._pass = threading.local()

    @property
    def carries_history(self):
        """Whether any connection reads what an earlier one has seen."""
        return any(reach(layer) > 1 for layer in self.layers)

    @property
    def is_suspended(self):
        return getattr(self._pass, "is_suspended", False)

    @contextlib.contextmanager
    def suspended(self):
        """No connection runs: only shapes are asked for."""
        before, self._pass.is_suspended = self.is_suspended, True
        try:
            yield
        finally:
            self._pass.is_suspended = before

    def enter(self, n, x):
        """Hand in the skip of connection `n`; get what it may read.

        Returns:
            List, the skip first, then newest first: codes or activations as
            `Laurel.combine_sum` takes them. `None` where it reads nothing.
        """
        if not self.carries_history:
            return self._pushed(n, x).get(n)
        self._check_turn(n)
        waiting = self._pass.waiting
        for reader, entry in self._pushed(n, x).items():
            waiting[reader] = entry + waiting.get(reader, [])
        carried = waiting.pop(n, None)
        self._pass.next = n + 1
        if n + 1 == len(self.layers):
            self._pass.waiting = {}
        return carried

    def _check_turn(self, n):
        if n == 0:
            self._pass.waiting, self._pass.next = {}, 0
        expected = getattr(self._pass, "next", 0)
        if n != expected:
            raise ValueError(
                f"LAuReL connection {n} ran where {expected} was expected: "
                "previous activations come from the blocks before it, in the "
                "same pass. Run the blocks from the first in order, or "
                "convert with a layer without `num_activations`."
            )

    def _pushed(self, n, x):
        """What connections n, n + 1, ... will read of `x`, by connection."""
        readers = [
            reader
            for reader in range(n, len(self.layers))
            if reader - n < reach(self.layers[reader])
        ]
        if not readers:
            return {}
        if not self.layers[n].rank:
            return {reader: [x] for reader in readers}
        down = [self.layers[r].down_projection(r - n) for r in readers]
        codes = ops.matmul(x, ops.concatenate(down, axis=-1))
        split = ops.split(codes, len(readers), axis=-1)
        return {reader: [code] for reader, code in zip(readers, split)}


class LostHistory(ResidualStream):
    """The stream of connections whose predecessors are in another part."""

    def enter(self, n, x):
        raise ValueError(
            f"The LAuReL layer {self.layers[n].name!r} reads previous "
            "activations of layers that were not saved with it. Save and load "
            "the whole model that was converted."
        )


def reach(layer):
    """The number of activations a built layer reads, its own skip included."""
    if layer is None or not (layer.rank or layer.num_activations):
        return 0
    return layer.num_inputs - 1
