"""What is read in the text of a compiled program."""

import pytest

from keras_laurel.tpu.optimized_hlo import estimated_cycles
from keras_laurel.tpu.optimized_hlo import find_collectives
from keras_laurel.tpu.program_cost import Collectives

MODULE = """\
HloModule jit_step, is_scheduled=true

%fused (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0:T(8,128)} parameter(0)
  ROOT %n = f32[8,4]{1,0:T(8,128)} negate(%p)
}

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

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0)
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%cond, body=%body, \
backend_config={"known_trip_count":{"n":"3"},"estimated_cycles":"7"}
  %a = (bf16[2,4]{1,0:T(8,128)(2,1)}, bf16[8,4]{1,0}) all-gather-start(%y), \
channel_id=2
  %b = bf16[8,4]{1,0} all-gather-done(%a)
  %d = f32[8,4]{1,0} fusion(%b), kind=kCustom, calls=%during.1
  %e = f32[8,4]{1,0} fusion(%d), kind=kCustom, calls=%during.2
  %h = f32[32]{0:T(128)} all-reduce(%i), channel_id=4, to_apply=%add
  %c = (f32[8]{0}, pred[16]{0}) all-reduce(%u, %v), channel_id=3
  ROOT %out = f32[8,4]{1,0} get-tuple-element(%w), index=1
}
"""


def test_a_loop_counts_as_often_as_it_runs():
    assert estimated_cycles(MODULE) == 7 + 3 * 10


def test_collectives_are_counted_once_with_their_larger_side():
    assert find_collectives(MODULE) == {
        "all-reduce": Collectives(
            3 + 1 + 1, 3 * 8 * 4 * 4 + 32 * 4 + 8 * 4 + 16
        ),
        # One of them goes on during two fusions.
        "all-gather": Collectives(1 + 1, 8 * 4 * 2 + 64 * 2),
    }


def test_another_text_is_an_error():
    with pytest.raises(ValueError, match="ENTRY computation"):
        estimated_cycles("module @jit_step {}")
