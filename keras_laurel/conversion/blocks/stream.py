"""What blocks hand on to the blocks after them: previous activations."""

import contextlib
import threading
import uuid

from keras import ops


class ResidualStream:
    """The skips of one pass, as the residual connections after them need it.

    A transformer block is called on its input alone, so what is known of
    earlier activations travels here. With a low-rank map these are codes, `r`
    numbers per token: when `x_n` appears, one product takes its
    down-projections for connection n and for those after it. Otherwise it is
    `x_n` itself.

    A block that runs several times in a pass has several connections here,
    which may share one layer. An early one then gets fewer activations than
    its layer was built for.

    Each thread has a pass of its own. It starts at connection 0 and ends
    after the last; a connection out of turn raises, and so ends the pass.

    Args:
        layers: List of the built `Laurel` layers in the order they run. One
            that serves several connections stands there several times; `None`
            stands for those of blocks that a model does not have.
        counts: Whether the order matters though nothing is carried, as where
            the connections of one block have a layer each.
        id: String by which its blocks find one another when they are loaded.
        earlier: List of lists: the connections whose activations each one may
            read, in order. `None` where these are all before it.
    """

    def __init__(self, layers, counts=False, id=None, earlier=None):
        self.layers = layers
        self.counts = counts
        self._earlier = earlier
        self.id = id or uuid.uuid4().hex
        self._pass = threading.local()
        self._known = [], {}

    def __getstate__(self):
        """The layers; a pass is of the thread that runs it."""
        return {"layers": self.layers, **self._settings()}

    def __setstate__(self, state):
        self.__init__(**state)

    def get_config(self):
        """What `loaded_stream` needs, its layers left out."""
        return {"size": len(self.layers), **self._settings()}

    def _settings(self):
        return {"id": self.id, "counts": self.counts, "earlier": self._earlier}

    def earlier(self, n):
        """The connections whose activations connection `n` may read."""
        return range(n) if self._earlier is None else self._earlier[n]

    @property
    def carries_history(self):
        """Whether any connection reads what an earlier one has seen."""
        return any(
            layer is not None and layer.has_history for layer in self.layers
        )

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

    @property
    def state(self):
        """Where the pass of this thread is: what waits for which connection,
        and which is next."""
        return dict(getattr(self._pass, "waiting", {})), self._next

    @state.setter
    def state(self, state):
        self._pass.waiting, self._pass.next = dict(state[0]), state[1]

    @contextlib.contextmanager
    def resumed(self, state):
        """A pass goes on from `state`; afterwards that of before does."""
        before, self.state = self.state, state
        try:
            yield
        finally:
            self.state = before

    def begin(self):
        """Forget a pass that was not run to its end."""
        self._pass.waiting, self._pass.next = {}, 0

    def turn(self, connections, call=None):
        """The connection of a block that runs now, of the several it has.

        Args:
            connections: Tuple of indices, ascending.
            call: The call of the model that the block runs in, if any. One
                that is not that of the block before starts a new pass.
        """
        if call is not None and call is not getattr(self._pass, "call", None):
            self.begin()
            self._pass.call = call
        following = self._next
        return following if following in connections else connections[0]

    def enter(self, n, x):
        """Hand in the skip of connection `n`; get what it may read.

        Args:
            n: Integer, index in `layers`.
            x: Tensor of shape `(batch, ..., D)`.

        Returns:
            List, the skip first, then newest first: codes or activations as
            `Laurel.combine_sum` takes them. `None` where it reads nothing.

        Raises:
            ValueError: if the connection is not the next one of the pass and
                not the first of a new one.
        """
        if not (self.carries_history or self.counts):
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

    @property
    def _next(self):
        return getattr(self._pass, "next", 0)

    def _check_turn(self, n):
        expected = self._next
        if n in (0, expected):
            if n == 0:
                self.begin()
            return
        self.begin()
        raise ValueError(
            f"LAuReL connection {n} ran where {expected} was expected: "
            "previous activations come from the blocks before it, in the "
            "same pass. Run the blocks from the first in order, or "
            "convert with a layer without `num_activations`."
        )

    def _pushed(self, n, x):
        """What connections n, n + 1, ... will read of `x`, by connection."""
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
        """Who reads of whom: lists of `(connection, place)`, by connection."""
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


_LOADING = {}
"""Streams of which some blocks are loaded and others are not yet, by id."""


def loaded_stream(config, layers):
    """The stream that the blocks of one model are loaded into.

    A block that is there already is of another copy of the model.

    Args:
        config: Dict, from its `get_config`.
        layers: Dict of the layers of one block by their places.
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
