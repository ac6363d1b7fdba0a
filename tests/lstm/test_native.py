"""The ways of CPUs with AVX512-BF16 and VNNI, run on any: all is theirs but the one instruction, spelled out here."""

import pytest

from tests.helpers import processes
from tests.lstm.test_precision import DIGEST, MATRIX

# What vdpbf16ps does for numbers that are not denormal: the upper half's product first, then the lower half's.
DOT_BFLOAT16 = """
def _dot(tile, sums, first, turn, odd):
    builder, kind = tile.builder, ir.VectorType(ir.IntType(32), LANES)
    halves = ir.Constant(kind, [-65536] * LANES), ir.Constant(kind, [16] * LANES)
    word = tile.plus(builder.add(builder.udiv(first, tile.constant(2)), tile.constant(odd)), turn, 2)
    for v in range(tile.vectors):
        weight = tile.load(tile.gate(v, word), kind)
        for r, x in enumerate(tile.x):
            value = tile.broadcast(tile.plus(x, word, 4), types.int32)
            for take in (lambda word: builder.and_(word, halves[0]), lambda word: builder.shl(word, halves[1])):
                w, p = (builder.bitcast(take(both), tile.sum) for both in (weight, value))
                builder.store(tile.fma(w, p, builder.load(sums[r, v])), sums[r, v])
"""
# What vpdpbusd does: four unsigned times four signed bytes, summed.
DOT_INT8 = """
def _dot(builder, total, value, weight):
    wide, index = ir.VectorType(ir.IntType(32), 4 * LANES), ir.VectorType(ir.IntType(32), LANES)
    products = builder.mul(builder.zext(builder.bitcast(value, weight.type), wide), builder.sext(weight, wide))
    for first in range(4):
        order = ir.Constant(index, list(range(first, 4 * LANES, 4)))
        total = builder.add(total, builder.shuffle_vector(products, products, order))
    return total
"""
FILES = {
    "bfloat16.py": ('DOT = "avx512bf16" in features() and not MATRIX', "DOT = not MATRIX", DOT_BFLOAT16),
    "int8.py": (
        'NATIVE = "avx512vnni" in features() or ("avxvnni" in features() and VECTOR_BITS < 512)',
        "NATIVE = True",
        DOT_INT8,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("bits", ["128", "256", "512"])
def test_the_same_bits_with_the_instructions_spelled_out(bits, tmp_path):
    package = processes.copy_package(tmp_path)
    for name, (condition, met, dot) in FILES.items():
        source = package / "lstm" / name
        processes.replace(source, condition, met)
        source.write_text(source.read_text("utf-8") + dot, "utf-8")
    run = processes.python("-c", DIGEST, "1", package=package, FASTCELL_VECTOR_BITS=bits, FASTCELL_WITHOUT=MATRIX)
    assert run.stdout, run.stderr
    assert run.stdout == processes.python("-c", DIGEST, "1", FASTCELL_VECTOR_BITS=bits).stdout
