"""Quantities read from the text of a compiled program."""

import pytest

from keras_laurel.costs.tpu.optimized_hlo import count_loops
from keras_laurel.costs.tpu.optimized_hlo import estimated_cycles
from keras_laurel.costs.tpu.optimized_hlo import find_collectives
from keras_laurel.costs.tpu.program_cost import Collectives

# In the forms that libtpu 0.0.52 writes.
MODULE = """\
HloModule jit_step, is_scheduled=true

%body (s: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %s = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %g = f32[8,4]{1,0:T(8,128)} get-tuple-element(%s), index=1
  %f = f32[8,4]{1,0} fusion(%g), kind=kLoop, calls=%fused, \
backend_config={"window_config":{"estimated_cycles":"10"}}
  %r = f32[8,4]{1,0} all-reduce(%f), channel_id=1, to_apply=%add
}

%during.1 (q: f32[8,4]) -> f32[8,4] {
  %g.1 = bf16[64]{0:T(128)(2,1)S(1)} all-gather(%q), channel_id=9
}

%during.2 (q: f32[8,4]) -> f32[8,4] {
  %g.2 = bf16[64]{0:T(128)(2,1)} all-gather(%q), channel_id=9
}

%all-reduce-scatter.3 (input: bf16[128]) -> bf16[8] {
  %input = bf16[128]{0:T(128)(2,1)} parameter(0)
  %all-reduce.47 = bf16[128]{0:T(128)(2,1)} all-reduce(%input), \
channel_id=43, to_apply=%add
  ROOT %part = bf16[8]{0:T(128)(2,1)} dynamic-slice(%all-reduce.47)
}

%yes (p.1: f32[8]) -> f32[8] {
  ROOT %m = f32[8]{0} multiply(%p.1, %p.1), \
backend_config={"estimated_cycles":"5"}
}

%no (p.2: f32[8]) -> f32[8] {
  ROOT %k = f32[8]{0} all-reduce(%p.2), channel_id=5, to_apply=%add
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0)
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%cond, body=%body, \
backend_config={"estimated_cycles":"7"}
  %a = (bf16[2,4]{1,0:T(8,128)(2,1)}, bf16[8,4]{1,0}) all-gather-start(%y), \
channel_id=2
  %b = bf16[8,4]{1,0} all-gather-done(%a)
  %d = f32[8,4]{1,0} fusion(%b), kind=kCustom, calls=%during.1
  %e = f32[8,4]{1,0} fusion(%d), kind=kCustom, calls=%during.2
  %h = f32[32]{0:T(128)} all-reduce(%i), channel_id=4, to_apply=%add
  %h.1 = f32[32]{0:T(128)} all-reduce(%h), channel_id=4, to_apply=%add
  %c = (f32[8]{0}, pred[16]{0}) all-reduce(%u, %v), channel_id=3
  %l = bf16[8]{0} fusion(%o), kind=kCustom, calls=%all-reduce-scatter.3
  %n = bf16[2,4]{1,0} reduce-scatter(%b), channel_id=6, to_apply=%add
  %q = (f32[8]{0}) conditional(%z, %x), branch_computations={%yes, %no}
  ROOT %out = f32[8,4]{1,0} get-tuple-element(%w), index=1
}
"""


def test_cycles_are_those_of_one_pass_and_all_branches():
    assert estimated_cycles(MODULE) == 7 + 10 + 5
    assert count_loops(MODULE) == 1


def test_collectives_are_counted_once_with_their_larger_side():
    assert find_collectives(MODULE) == {
        # In the loop, the same again after it, of two arrays, in a branch.
        "all-reduce": Collectives(
            5, 4 * 8 * 4 + 2 * 4 * 32 + (4 * 8 + 16) + 4 * 8
        ),
        # One of them goes on during two fusions.
        "all-gather": Collectives(2, 2 * 8 * 4 + 2 * 64),
        "reduce-scatter": Collectives(2, 2 * 128 + 2 * 8 * 4),
    }


def test_another_text_is_an_error():
    with pytest.raises(ValueError, match="ENTRY computation"):
        estimated_cycles("module @jit_step {}")
