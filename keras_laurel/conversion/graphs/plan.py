"""Plan the replacements in a graph, before anything is changed."""

import dataclasses

import keras

from keras_laurel.conversion import keras_internals
from keras_laurel.conversion.graphs import layer_options
from keras_laurel.conversion.graphs.same_sizes import SameSizes
from keras_laurel.conversion.graphs.search import functional_models
from keras_laurel.conversion.prototype import copy_of
from keras_laurel.layers import Laurel


@dataclasses.dataclass(frozen=True)
class Replacement:
    """A built LAuReL layer and the addition that it replaces.

    Attributes:
        node: The call of the addition.
        skip: Tensor, `x` of `x + f(x)`.
        previous: Tuple of tensors, the skips of earlier additions, newest
            first.
        layer: The `Laurel` layer.
    """

    node: object
    skip: object
    previous: tuple
    layer: Laurel

    def inputs(self):
        """Return the inputs of the layer, as tensors of the original graph.

        They are `[x, fx, *previous]`, or `[x, sum, *previous]`.
        """
        if self.layer.of_sum:
            (fx,) = self.node.outputs
        else:
            first, second = keras_internals.node_inputs(self.node)[:2]
            fx = second if first is self.skip else first
        return [self.skip, fx, *self.previous]

    def call(self, tensors, again):
        """Call the layer in the new graph and return its output.

        Args:
            tensors: Dict of the new graph's tensors, by `id` of the old ones.
            again: Function that calls the addition in the new graph.
        """
        if self.layer.of_sum:
            tensors = {**tensors, id(self.node.outputs[0]): again()}
        return self.layer([tensors[id(t)] for t in self.inputs()])

    def build(self):
        if not self.layer.built:
            self.layer.build([tuple(t.shape) for t in self.inputs()])


@dataclasses.dataclass(frozen=True)
class Removal:
    """A LAuReL layer that is to be replaced by the plain addition.

    Attributes:
        node: The call of the layer.
    """

    node: object

    @property
    def layer(self):
        return self.node.operation

    def call(self, tensors, again):
        """Compute `x + f(x)` in the new graph, as before conversion."""
        x, fx = [
            tensors[id(t)] for t in keras_internals.node_inputs(self.node)[:2]
        ]
        layer = self.layer
        if layer.of_sum:
            return fx
        operands = [fx, x] if layer.branch_first else [x, fx]
        # It stood for `+`, which drops the mask that `Add` would pass on.
        if layer.drops_mask:
            return operands[0] + operands[1]
        return keras.layers.Add(
            name=layer.name,
            dtype=layer.dtype_policy,
            activity_regularizer=layer.activity_regularizer,
        )(operands)


def by_node(replacements):
    return {replacement.node: replacement for replacement in replacements}


def plan_replacements(model, sites, prototypes):
    """Plan a built copy of a prototype for each site.

    Args:
        model: A functional or sequential model.
        sites: List of `ResidualSite`.
        prototypes: `Laurel` layer for all sites, or a list with one for each.

    Returns:
        List of `Replacement`, in the order they run.

    Raises:
        ValueError: if a prototype does not fit a site; the message names it.
    """
    if isinstance(prototypes, Laurel):
        prototypes = [prototypes] * len(sites)
    chosen = {site.node: (site, p) for site, p in zip(sites, prototypes)}
    plan = {}
    for functional in functional_models(model):
        graph = _Graph(functional, chosen)
        for site, prototype in graph.chosen:
            if site.node not in plan:
                plan[site.node] = graph.replacement(site, prototype, len(plan))
    return list(plan.values())


def free_name(name, taken):
    """Return `name`, with a suffix if another operation has that name."""
    while name in taken:
        name += "_laurel"
    return name


def skip_of(site):
    """Return the tensor to which the branch of a site is added."""
    return site.skip_tensor


class _Graph:
    """One functional model and the properties that new layers depend on."""

    def __init__(self, model, chosen):
        self._model = model
        self._nodes = keras_internals.nodes(model)
        self.chosen = [chosen[n] for n in self._nodes if n in chosen]
        self._sizes = SameSizes(model)
        self._axes = layer_options.FeatureAxes(self._nodes)
        self._dtypes = layer_options.real_dtypes(self._nodes)
        self._leading = _leading(
            self._nodes, [skip_of(site) for site, _ in self.chosen]
        )
        # A replaced addition leaves its name to the layer. The additions of a
        # sum of several branches stay, and keep theirs.
        self._names = {o.name for o in model.operations} - {
            site.node.operation.name
            for site, _ in self.chosen
            if not site.is_sum
        }

    def replacement(self, site, prototype, number):
        layer = self._copy(site, prototype, number)
        previous = self._previous(site, prototype)
        made = Replacement(site.node, skip_of(site), previous, layer)
        self._check_sizes(site, made)
        try:
            made.build()
        except ValueError as error:
            raise ValueError(
                f"Argument `layer` does not fit the site {site!r}: {error} Or "
                "leave the site out with `sites=[...]`."
            ) from error
        return made

    def _copy(self, site, prototype, number):
        _check_takes_sum(site, prototype)
        node, branch = site.node, site.branch_nodes
        options = layer_options.how_it_stood(node, skip_of(site), site.is_sum)
        axis = prototype.axis
        # Any other axis is the choice of the user.
        if axis == -1:
            axis = self._axes.of(node, branch)
        if not self._model.trainable:
            options["trainable"] = False
        name = free_name(site.name.rpartition("/")[2], self._names)
        self._names.add(name)
        policy = layer_options.dtype_policy(node, branch, self._dtypes)
        return copy_of(prototype, number, name, policy, axis=axis, **options)

    def _previous(self, site, prototype):
        """Return the history of a site, in the order the layer reads it.

        These are earlier skips of the same size from which this site's skip
        is computed.
        """
        if not prototype.has_history:
            return ()
        skip = skip_of(site)
        found = [
            tensor
            for tensor in self._leading[id(skip)]
            if self._sizes.are_equal(tensor, skip)
        ]
        _, *distances = prototype.reads(len(found))
        return tuple(found[-j] for j in distances)

    def _check_sizes(self, site, replacement):
        x, fx, *_ = replacement.inputs()
        if not self._sizes.may_be_equal(x, fx):
            raise ValueError(
                "Argument `sites` must hold sites whose skip and branch have "
                f"equal shapes. Received: {site!r}, whose skip has the shape "
                f"{tuple(x.shape)} and its branch {tuple(fx.shape)}; inputs "
                f"of one size give {self._sizes.shape(x)} and "
                f"{self._sizes.shape(fx)}. Leave the site out with "
                "`sites=[...]`."
            )


def _leading(nodes, skips):
    """Return, by `id` of each skip, the skips from which it is computed.

    They are in the order they are computed.
    """
    order = {
        id(t): i for i, t in enumerate(t for n in nodes for t in n.outputs)
    }
    skips = sorted(
        {id(t): t for t in skips}.values(), key=lambda t: order[id(t)]
    )
    # The skips from which a tensor is computed are an integer as a bit set.
    bits = {id(t): 1 << i for i, t in enumerate(skips)}
    before = {}
    for node in nodes:
        found = 0
        for t in keras_internals.node_inputs(node):
            found |= before[id(t)] | bits.get(id(t), 0)
        before.update({id(t): found for t in node.outputs})
    return {
        id(skip): [t for t in skips if before[id(skip)] & bits[id(t)]]
        for skip in skips
    }


def _check_takes_sum(site, prototype):
    if site.is_sum and type(prototype).call is not Laurel.call:
        raise ValueError(
            "Argument `layer` must have the `call` of `keras_laurel.Laurel` "
            f"at a sum of several branches, {site!r}. Received: "
            f"layer={prototype!r}, a {type(prototype).__name__} with its own "
            "`call`. Use a layer of `keras_laurel`, or leave the site out "
            "with `sites=[...]`."
        )
