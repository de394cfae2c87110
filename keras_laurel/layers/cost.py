"""What one LAuReL connection costs: closed formulas.

They are arithmetic only and hold for numbers as for symbols. All but
`parameters` are for one position, a token or a pixel, and in numbers, not in
bytes.
"""

import dataclasses

from keras_laurel.equation import NUM_RESIDUAL_WEIGHTS


@dataclasses.dataclass(frozen=True)
class ConnectionCost:
    """The costs of `alpha * f + beta * (x + sum_j gamma_j B_j A_j x_{i-j})`.

    Attributes:
        width: D, the size of the feature axis.
        activations: n, how many activations it reads, the skip included; at
            most the k of `num_activations`, fewer in the first blocks.
        rank: r, or `None`.
        has_gamma: Whether it weighs activations (`num_activations` is set).
        share_low_rank, residual_weights, per_channel, scale, normalize: As
            in `keras_laurel.Laurel`.
        is_around_block: Whether it stands around a block that hides f, as in
            KerasHub's transformers, which changes some products and sums.
        has_other_skip: Whether the skip is not what that block added f to,
            as at the second of its two additions.
        keeps_f: Whether the backward pass keeps f(x) for alpha; around a
            block, what the block returned. See `keep_branch` of `Laurel`.

    Reference: arXiv 2411.07501, Table 4. Its parameters are `parameters`. Its
    memory is `parameters`, and for previous activations `history`: what a
    forward pass holds. What training holds besides, `kept`, it leaves out.
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
    def parameters(self):
        """RW 2, or 1 if beta is not its own (times D per channel), LR 2rD,
        PA n and 2rnD + n with separate low-rank maps."""
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
    def product_flops(self):
        """Of a forward pass: 2rD for each map from or to the D features."""
        if not self.rank:
            return 0
        # Codes are made before they are summed where a block hides f.
        down = self.activations if self.is_around_block else self._pairs
        return 2 * self.rank * self.width * (down + self._pairs)

    @property
    def sum_flops(self):
        """Multiplications and additions one by one, of a forward pass.

        What the addition `x + f` itself costs is left out, and so are what
        does not grow with positions and the comparisons that keep numbers
        finite. A constant weight of 1 multiplies nothing.
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
        # Corrections of the plain sum are taken from 0, for the sign of zeros.
        if terms > plain + 1:
            total += self.width
        if self._sums_history:
            total += (2 * self.activations - 1) * self._summed_width
        return total + 4 * self.width + 1 if self.normalize else total

    @property
    def forward_flops(self):
        return self.product_flops + self.sum_flops

    @property
    def training_flops(self):
        """Forward and backward: a product has two gradients of its cost."""
        return 3 * self.forward_flops

    @property
    def kept(self):
        """Numbers that training keeps for the backward pass.

        Beyond what the model keeps with a plain addition. That keeps what it
        hands on to layers, the skip, previous activations and the output of
        the connection, and not f. A low-rank map keeps the codes, from which
        the gradient of B is taken. Residual weights keep nothing but what
        stands beside f: the input of a block whose skip is another, and the
        normalised augmentation; and f itself, if `keeps_f`.
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
    def history(self):
        """Numbers of previous activations that a forward pass holds for it.

        n - 1 activations; around a block, with a low-rank map, their codes:
        those of x_{i-j} wait for the next n - j connections.
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
        """The number of terms but for the augmentation, and of those that a
        weight multiplies: f and x, or y, the skip and x."""
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
        """Whether gamma weighs activations, or codes, to one sum."""
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
        """What summing before the one map B keeps: the codes, or the sum."""
        if self.is_around_block:
            return self.rank * self.activations
        return self.width
