"""The history that blocks pass on to the blocks after them."""

import contextlib
import threading
import uuid

from keras import ops


class ResidualStream:
    """The history of one pass, as later connections need it.

    A transformer block is called on its input alone, so the history is passed
    on here. With a low-rank map it consists of low-rank projections, `r`
    numbers per token: as soon as `x_n` is known, one matrix product computes
    its down-projections for connection n and for those after it. Without a
    low-rank map it is `x_n` itself.

    A block that runs several times in a pass has several connections here,
    which may share one layer. An early one then gets fewer activations than
    its layer was built for.

    Each thread has its own pass. A pass starts at connection 0 and ends after
    the last one. A connection that runs out of order raises an error, which
    ends the pass.

    Args:
        layers: List of the built `Laurel` layers in the order they run. A
            layer of several connections is listed several times; `None` is
            used for blocks that a model does not have.
        counts: Boolean. The order matters even if there is no history, as it
            does if each connection of a block has its own layer.
        id: String by which the blocks of a stream find it on loading.
        earlier: List of lists: the connections whose activations each one may
            read, in order. `None` means all connections before it.
    """

    def __init__(self, layers, counts=False, id=None, earlier=None):
        self.layers = layers
        self.counts = counts
        self._earlier = earlier
        self.id = id or uuid.uuid4().hex
        self._pass = threading.local()
        # The readers, and the layers for which they were found: on loading,
        # the layers arrive block by block.
        self._known = [], {}

    def __getstate__(self):
        """Return the layers and settings, without the passes of threads."""
        return {"layers": self.layers, **self._settings()}

    def __setstate__(self, state):
        self.__init__(**state)

    def get_config(self):
        """Return the argument of `loaded_stream`, without the layers."""
        return {"size": len(self.layers), **self._settings()}

    def _settings(self):
        return {"id": self.id, "counts": self.counts, "earlier": self._earlier}

    def earlier(self, n):
        """Return the connections whose activations connection `n` may read."""
        return range(n) if self._earlier is None else self._earlier[n]

    @property
    def carries_history(self):
        """True if any connection reads earlier activations."""
        return any(
            layer is not None and layer.has_history for layer in self.layers
        )

    @property
    def is_suspended(self):
        return getattr(self._pass, "is_suspended", False)

    @contextlib.contextmanager
    def suspended(self):
        """Run no connection in this scope, which only finds shapes."""
        before, self._pass.is_suspended = self.is_suspended, True
        try:
            yield
        finally:
            self._pass.is_suspended = before

    @property
    def state(self):
        """The state of this thread's pass.

        It is a pair of the history that waits for each connection, and the
        index of the next connection.
        """
        return dict(getattr(self._pass, "waiting", {})), self._next

    @state.setter
    def state(self, state):
        self._pass.waiting, self._pass.next = dict(state[0]), state[1]

    @contextlib.contextmanager
    def resumed(self, state):
        """Resume a pass from `state` in this scope, then restore the former."""
        before, self.state = self.state, state
        try:
            yield
        finally:
            self.state = before

    def begin(self):
        """Start a new pass, and forget one that was not run to its end."""
        self._pass.waiting, self._pass.next = {}, 0

    def turn(self, connections, call=None):
        """Return which of a block's several connections runs now.

        Args:
            connections: Tuple of indices, ascending.
            call: The outer call in which the block runs, if any. If it
                differs from that of the previous block, a new pass starts.
        """
        if call is not None and call is not getattr(self._pass, "call", None):
            self.begin()
            self._pass.call = call
        following = self._next
        # If none of them follows, `enter` reports what was expected.
        return following if following in connections else connections[0]

    def enter(self, n, x):
        """Store the skip of connection `n`, and return what it reads.

        Args:
            n: Integer, index in `layers`.
            x: Tensor of shape `(batch, ..., D)`.

        Returns:
            List, the skip first, then newest first: low-rank projections or
            activations, as `Laurel.combine_sum` takes them. `None` if the
            connection reads nothing.

        Raises:
            ValueError: if the connection is neither the next one of the pass
                nor the first of a new one.
        """
        # A connection that reads its own skip only may run in any order.
        if not (self.carries_history or self.counts):
            return self._pushed(n, x).get(n)
        self._check_turn(n)
        waiting = self._pass.waiting
        for reader, entry in self._pushed(n, x).items():
            # Newest first, the order in which the layers read.
            waiting[reader] = entry + waiting.get(reader, [])
        carried = waiting.pop(n, None)
        self._pass.next = n + 1
        if n + 1 == len(self.layers):
            # No activation is held after the pass.
            self._pass.waiting = {}
        return carried

    @property
    def _next(self):
        return getattr(self._pass, "next", 0)

    def _check_turn(self, n):
        expected = self._next
        if n in (0, expected):
            if n == 0:
                self.begin()
            return
        # The error also ends the pass, so that the next one starts clean.
        self.begin()
        raise ValueError(
            "Blocks around which connections read previous activations must "
            "run in order, all in the same pass. Received: a pass in which "
            f"LAuReL connection {n} ran where {expected} was expected. Run "
            "the blocks from the first in order, or convert with a layer "
            "without `num_activations`."
        )

    def _pushed(self, n, x):
        """Return what connections n, n + 1, ... will read of `x`, as a dict."""
        readers = self._readers().get(n, [])
        carried = {reader: [x] for reader, _ in readers}
        down = {
            reader: self.layers[reader].down_projection(j)
            for reader, j in readers
        }
        down = {reader: a for reader, a in down.items() if a is not None}
        if not down:
            return carried
        codes = ops.matmul(x, ops.concatenate(list(down.values()), axis=-1))
        start = 0
        for reader, a in down.items():
            end = start + a.shape[-1]
            carried[reader] = [codes[..., start:end]]
            start = end
        return carried

    def _readers(self):
        """Return, for each connection, who reads its activation.

        The readers are a list of `(connection, place)`, where `place` is the
        index of the activation among those of the reader.
        """
        layers, readers = self._known
        if layers != self.layers:
            readers = {}
            for reader, layer in enumerate(self.layers):
                if layer is None:
                    continue
                sources = [*self.earlier(reader), reader]
                for place, j in enumerate(layer.reads(len(sources) - 1)):
                    source = sources[-1 - j]
                    readers.setdefault(source, []).append((reader, place))
            self._known = list(self.layers), readers
        return readers


_LOADING: dict[str, ResidualStream] = {}
"""Streams for which some blocks are not loaded yet, by id."""


def loaded_stream(config, layers):
    """Return the stream shared by the blocks of one model, on loading.

    If it has the block already, another copy of the model is being loaded, so
    a new stream is made.

    Args:
        config: Dict, from its `get_config`.
        layers: Dict of the layers of one block by their indices.
    """
    settings = dict(config)
    size, id = settings.pop("size"), settings["id"]
    stream = _LOADING.get(id)
    if stream is None or stream.layers[min(layers)] is not None:
        stream = ResidualStream([None] * size, **settings)
        _LOADING[id] = stream
    for place, layer in layers.items():
        stream.layers[place] = layer
    if None not in stream.layers:
        del _LOADING[id]
    return stream
