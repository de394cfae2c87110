"""Closed formulas for the cost of one LAuReL connection.

They use arithmetic only, so they accept symbols as well as numbers. All
except `parameters` are per position (a token or a pixel). They count numbers,
not bytes.
"""

import dataclasses

from keras_laurel.equation import NUM_RESIDUAL_WEIGHTS


@dataclasses.dataclass(frozen=True)
class ConnectionCost:
    """The costs of `alpha * f + beta * (x + sum_j gamma_j B_j A_j x_{i-j})`.

    Attributes:
        width: D, the size of the feature axis.
        activations: n, the number of activations it reads, the skip included;
            at most the k of `num_activations`, fewer in the first blocks.
        rank: r, or `None`.
        has_gamma: True if it weighs activations (`num_activations` is set).
        share_low_rank, residual_weights, per_channel, scale, normalize: As
            in `keras_laurel.Laurel`.
        is_around_block: True if it is around a block that hides f, as in
            KerasHub's transformers, which changes some products and sums.
        has_other_skip: True if the skip is not the tensor to which that block
            added f, as at the second of its two additions.
        keeps_f: True if the backward pass keeps f(x) for alpha, or around a
            block the block's output. See `keep_branch` of `Laurel`.

    Reference: arXiv 2411.07501, Table 4. The parameters there are
    `parameters`. The memory there is that of a forward pass: `parameters`,
    and `history` for previous activations. Table 4 leaves out `kept`, the
    memory that training needs besides.
    """

    width: int
    activations: int = 1
    rank: int | None = None
    has_gamma: bool = False
    share_low_rank: bool = False
    residual_weights: str | None = None
    per_channel: bool = False
    scale: float = 1.0
    normalize: str | None = None
    is_around_block: bool = False
    has_other_skip: bool = False
    keeps_f: bool = True

    @property
    def parameters(self) -> int:
        """The number of weights.

        RW has 2, or 1 if beta has no weight of its own, times D per channel.
        LR has 2rD. PA has n, or 2rnD + n with separate low-rank maps.
        """
        total = 0
        if self.residual_weights:
            count = NUM_RESIDUAL_WEIGHTS[self.residual_weights]
            total += count * self.width if self.per_channel else count
        if self.rank:
            total += 2 * self.rank * self.width * self._pairs
        if self.has_gamma:
            total += self.activations
        return total + self.width if self.normalize else total

    @property
    def product_flops(self) -> int:
        """FLOPs of the matrix products in a forward pass.

        Each map from or to the D features takes 2rD.
        """
        if not self.rank:
            return 0
        # Around a block, each activation is projected before gamma sums the
        # projections; otherwise a shared A projects the sum once.
        down = self.activations if self.is_around_block else self._pairs
        return 2 * self.rank * self.width * (down + self._pairs)

    @property
    def sum_flops(self) -> int:
        """Elementwise multiplications and additions in a forward pass.

        The count leaves out the addition `x + f` itself, operations whose
        number does not grow with the positions, and the comparisons that keep
        numbers finite. A constant weight of 1 multiplies nothing.
        """
        terms, multiplied = self._base_terms
        if self.normalize:
            terms += 1
            multiplied += 1 if self._is_scaled else 0
        elif self.rank:
            terms += 1
        elif self.has_gamma:
            terms += self.activations
            multiplied += self.activations
        plain = 0 if self.is_around_block else 1
        total = self.width * (multiplied + terms - 1 - plain)
        # Corrections of the plain sum are subtracted from 0 first, to keep
        # the sign of zeros: see `equation._corrected`.
        if terms > plain + 1:
            total += self.width
        if self._sums_history:
            # n products with gamma and n - 1 sums.
            total += (2 * self.activations - 1) * self._summed_width
        # The norm squares, adds up and multiplies by its inverse and its
        # scale.
        return total + 4 * self.width + 1 if self.normalize else total

    @property
    def forward_flops(self) -> int:
        return self.product_flops + self.sum_flops

    @property
    def training_flops(self) -> int:
        """FLOPs of a forward and a backward pass.

        The backward pass of a product has two gradients, each as costly as
        the product.
        """
        return 3 * self.forward_flops

    @property
    def kept(self) -> int:
        """Numbers kept for the backward pass, beyond those of an addition.

        A model with plain additions keeps the tensors that layers read (the
        skip, previous activations and the output of the connection), and
        not f. A low-rank map also keeps the low-rank projections, for the
        gradient of B. Residual weights also keep f if `keeps_f`, the input of
        a block whose skip is another tensor, and the normalised augmentation.
        """
        total = 0
        if self.residual_weights:
            beside = (self.keeps_f, self.has_other_skip, self.normalize)
            total += self.width * sum(map(bool, beside))
        if self.rank:
            total += self.rank * self._pairs
            total += self._summed if self._sums_history else 0
        return total + 3 * self.width + 2 if self.normalize else total

    @property
    def history(self) -> int:
        """Numbers of the history that a forward pass holds for it.

        These are n - 1 activations. Around a block, with a low-rank map, they
        are low-rank projections instead: those of x_{i-j} are held for the
        next n - j connections.
        """
        previous = self.activations - 1
        if self.rank and self.is_around_block:
            return self.rank * self.activations * previous // 2
        return self.width * previous

    @property
    def _is_scaled(self):
        return bool(self.residual_weights) or self.scale != 1

    @property
    def _base_terms(self):
        """The number of terms without the augmentation, and of weighted ones.

        The terms are f and x or, around a block, y, the skip and x.
        """
        is_beta_one = self.residual_weights == "free_branch" and self.scale == 1
        if not self.is_around_block:
            return 2, (2 - is_beta_one) if self._is_scaled else 0
        if self.has_other_skip:
            return 3, (3 - is_beta_one) if self._is_scaled else 1
        # (beta - alpha) * x is left out where alpha is beta.
        terms = 2 if self.residual_weights else 1
        return terms, terms if self._is_scaled else 0

    @property
    def _pairs(self):
        """The number of pairs (A, B)."""
        separate = self.has_gamma and not self.share_low_rank
        return self.activations if separate else 1

    @property
    def _sums_history(self):
        """True if gamma sums the activations or their projections."""
        if not self.has_gamma:
            return False
        if self.rank:
            return self._pairs != self.activations
        return bool(self.normalize)

    @property
    def _summed_width(self):
        is_code = self.rank and self.is_around_block
        return self.rank if is_code else self.width

    @property
    def _summed(self):
        """Numbers kept if there is a sum before the one map B.

        These are the low-rank projections, or the sum of the activations.
        """
        if self.is_around_block:
            return self.rank * self.activations
        return self.width
