"""What the rules x2 do, in vectors. They are -1 to 2 here: others are refused, or made 0, before a kernel sees them.

rule          -1 reset   0 keep   1 add   2 restart
forgets        yes        no       no      yes          bit 1 of an integer
takes x1       no         no       yes     yes          above 0
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcell._jit import inline
from fastcell.simd.vector import VectorType, _is_float, _llvm, add_overflows, select

_LEAST, _MOST = -(2**63), 2**63 - 1


@intrinsic
def forgets(typingctx, rules):
    """Where a rule forgets the memory."""
    kind = _llvm(rules)

    def codegen(context, builder, sig, args):
        def all_of(number):
            return ir.Constant(kind, [number] * rules.lanes)

        if _is_float(rules.dtype):
            below, above = (
                builder.fcmp_ordered(*comparison)
                for comparison in (("<", args[0], all_of(0.0)), (">", args[0], all_of(1.0)))
            )
            return builder.or_(below, above)
        return builder.icmp_signed("!=", builder.and_(args[0], all_of(2)), all_of(0))

    return VectorType(types.boolean, rules.lanes)(rules), codegen


@inline
def takes(rules):
    """Where a rule takes x1."""
    return rules > 0


@inline
def held_sum(a, x, bounds):
    """a + x held to the bounds, low and high, whether it leaves int64 or not; a nan stays one."""
    low, high = bounds
    wraps = add_overflows(a, x)
    total = select(wraps & (x < 0), low, a + x)
    total = select(wraps & (x > 0), high, total)
    total = select(total < low, low, total)
    return select(total > high, high, total)


@inline
def clamped(a, x, bounds, overflow):
    """`held_sum`, and whether it leaves int64 where the bound is int64's end, which is none."""
    total = held_sum(a, x, bounds)
    return total, overflow | (add_overflows(a, x) & ((total == _LEAST) | (total == _MOST)))
