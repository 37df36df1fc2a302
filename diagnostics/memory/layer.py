"""Owns the tape of one decoder layer: what transformers' and peft's code allocates in it.

Read from modeling_llama (transformers 5.6: RMSNorm in float32, rotary embedding, SwiGLU) and from
peft's LoRA layer (0.18); the dtypes are those of torch's autocast.
"""

from diagnostics.memory.attention_tape import add_attention
from diagnostics.memory.counting import Counts
from diagnostics.memory.layer_tape import LayerKind, LayerTape
from diagnostics.memory.mlp_tape import add_mlp
from diagnostics.memory.norms import NormPlace
from diagnostics.memory.tape import Tape


def decoder_layer(
    counts: Counts, kind: LayerKind, tokens: int, *, stream_bytes: int | None = None
) -> Tape:
    """Return the tape of a decoder layer for `tokens` tokens of a micro-step."""
    on = LayerTape(counts, kind, tokens, stream_bytes)
    source, place = on.tape.source, counts.model.norm_place
    if place is NormPlace.SHARED:
        normed = on.norm("input_norm", source)
        attended = add_attention(on, normed)
        both = on.residual("both", attended, add_mlp(on, normed))
        on.residual("output", source, both)
        return on.tape
    is_before, is_after = place is not NormPlace.AFTER, place is not NormPlace.BEFORE
    attended = add_attention(on, on.norm("input_norm", source) if is_before else source)
    attended = on.norm("attended_norm", attended) if is_after else attended
    output = on.residual("attended", source, attended)
    result = add_mlp(on, on.norm("post_norm", output) if is_before else output)
    result = on.norm("output_norm", result) if is_after else result
    on.residual("output", output, result)
    return on.tape
