"""What the machine that Numba compiles for can do: the one place to ask.

Numba takes the CPU's name and features from LLVM, or from NUMBA_CPU_NAME, NUMBA_CPU_FEATURES and NUMBA_ENABLE_AVX; the
CPU that runs this process may have more. LLVM tells no features of a CPU that is only named, so such a target is asked
by compiling a line for each feature: what it has shows in the instructions.
"""

import ctypes
import functools
import os
import platform
import sys

import llvmlite.binding as llvm
from numba.core import config
from numba.core.codegen import get_host_cpu_features


def _dot(lanes: int) -> str:
    """A sum of products of pairs of 16-bit integers, for which VNNI has one instruction."""
    even, odd = (", ".join(f"i32 {k}" for k in range(first, 2 * lanes, 2)) for first in (0, 1))
    sums, short, wide = f"<{lanes} x i32>", f"<{2 * lanes} x i16>", f"<{2 * lanes} x i32>"
    return f"""
define {sums} @dot{lanes}({sums} %s, {short} %a, {short} %b) {{
 %x = sext {short} %a to {wide}
 %y = sext {short} %b to {wide}
 %p = mul nsw {wide} %x, %y
 %e = shufflevector {wide} %p, {wide} poison, {sums} <{even}>
 %o = shufflevector {wide} %p, {wide} poison, {sums} <{odd}>
 %q = add {sums} %e, %o
 %r = add {sums} %s, %q
 ret {sums} %r
}}
"""


_IR = f"""
declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
define <8 x float> @avx(<8 x float> %a) {{
 %r = fadd <8 x float> %a, %a
 ret <8 x float> %r
}}
define <8 x i32> @avx2(<8 x i32> %a) {{
 %r = add <8 x i32> %a, %a
 ret <8 x i32> %r
}}
define <8 x float> @fma(<8 x float> %a) {{
 %r = call <8 x float> @llvm.fma.v8f32(<8 x float> %a, <8 x float> %a, <8 x float> %a)
 ret <8 x float> %r
}}
define <16 x float> @avx512f(<16 x float> %a) {{
 %r = fadd <16 x float> %a, %a
 ret <16 x float> %r
}}
define <64 x i8> @avx512bw(<64 x i8> %a) {{
 %r = add <64 x i8> %a, %a
 ret <64 x i8> %r
}}
define <16 x bfloat> @avx512bf16(<16 x float> %a) {{
 %r = fptrunc <16 x float> %a to <16 x bfloat>
 ret <16 x bfloat> %r
}}
{_dot(16)}{_dot(8)}"""
# What to look for in which of the functions above.
_SIGNS = {
    "avx": ("avx", ("vaddps", "%ymm")),
    "avx2": ("avx2", ("vpaddd", "%ymm")),
    "fma": ("fma", ("vfmadd",)),
    "avx512f": ("avx512f", ("vaddps", "%zmm")),
    "avx512bw": ("avx512bw", ("vpaddb", "%zmm")),
    "avx512bf16": ("avx512bf16", ("vcvtneps2bf16", "%zmm")),
    "avx512vnni": ("dot16", ("vpdpwssd", "%zmm")),
    "avxvnni": ("dot8", ("{vex}", "vpdpwssd")),
}
_TILES = frozenset({"amx-tile", "amx-bf16", "amx-int8"})
KNOWN = frozenset(_SIGNS) | _TILES
"""The features that can be asked for, under LLVM's names."""


def _probe(cpu: str, features: str) -> frozenset[str]:
    """Which of the known features a target has, by the instructions that LLVM chooses for it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple = llvm.get_process_triple()
    if not triple.startswith("x86_64"):
        return frozenset()
    # a CPU that LLVM doesn't know counts as one of 32 bits, at which it would end the process
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=f"+64bit,{features}", opt=2)
    bodies, name = dict.fromkeys((function for function, _ in _SIGNS.values()), ""), ""
    for line in machine.emit_assembly(llvm.parse_assembly(_IR)).splitlines():
        label = line.partition(":")[0].lstrip("_")  # macOS puts an underscore in front
        name = label if label in bodies else name
        if name:
            bodies[name] += line + "\n"
    return frozenset(
        feature
        for feature, (function, words) in _SIGNS.items()
        if any(all(word in line for word in words) for line in bodies[function].splitlines())
    )


def _listed(features: str) -> frozenset[str]:
    return frozenset(entry[1:] for entry in features.split(",") if entry.startswith("+")) & KNOWN


def _target_features() -> frozenset[str]:
    if config.CPU_FEATURES is not None:  # all that Numba adds to the CPU's own
        probed = _probe(config.CPU_NAME or llvm.get_host_cpu_name(), config.CPU_FEATURES)
        return probed | _listed(config.CPU_FEATURES) & _TILES
    host = _listed(get_host_cpu_features())
    # Under a name alone Numba still lists all that this CPU can do: code for that CPU takes what both have.
    return host if config.CPU_NAME is None else host & _probe(config.CPU_NAME, "")


@functools.cache
def _tiles_allowed() -> bool:
    """Ask Linux for AMX's registers, which a process must; it refuses where a signal stack has no room for them.

    Source: the kernel's documentation, Using XSTATE features in user space applications.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request, tile_data = 158, 0x1023, 18
    refused: int = ctypes.CDLL(None).syscall(arch_prctl, request, tile_data)
    return refused == 0


@functools.cache
def features() -> frozenset[str]:
    """Those of the `KNOWN` features that compiled code may use; FASTCELL_WITHOUT takes some away.

    FASTCELL_WITHOUT="avx512bf16,avx512vnni" is for tests of what other CPUs run. It decides which of fastcell's kernels
    are used, not what LLVM makes of them.
    """
    without = {name for name in os.environ.get("FASTCELL_WITHOUT", "").split(",") if name}
    if without - KNOWN:
        raise ValueError(
            f"FASTCELL_WITHOUT must name features among {', '.join(sorted(KNOWN))}, "
            f"got {', '.join(sorted(without - KNOWN))}"
        )
    found = _target_features() - without
    if found & _TILES and not _tiles_allowed():
        return found - _TILES
    return found


def vector_bits() -> int:
    """Bits of a vector register: of the CPU that Numba compiles for, or as FASTCELL_VECTOR_BITS says."""
    asked = os.environ.get("FASTCELL_VECTOR_BITS")
    if asked is not None:
        if asked not in ("128", "256", "512"):
            raise ValueError(f"FASTCELL_VECTOR_BITS must be 128, 256 or 512, got {asked!r}")
        return int(asked)
    if "avx512f" in features():
        return 512
    return 256 if {"avx2", "fma"} <= features() else 128


def pause_intrinsic() -> tuple[str, tuple[int, ...]] | None:
    """What a thread that waits for another's word tells the CPU, and its arguments; None where that isn't known."""
    family = llvm.get_process_triple().partition("-")[0]
    if family == "x86_64":
        return "llvm.x86.sse2.pause", ()
    return ("llvm.aarch64.isb", (15,)) if family in ("aarch64", "arm64") else None
