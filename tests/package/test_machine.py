"""What the machine is taken for: the one that Numba compiles for, which need not be the one that runs."""

import json

import llvmlite.binding as llvm
import pytest
from numba.core import config

from fastcell import _jit, _machine
from tests.helpers import processes

# What the environment says is read by Numba's import, or once more.
TELL = """
import json, os, sys
from numba.core import config
from fastcell import _machine
for environment in json.loads(sys.argv[1]):
    os.environ.update(environment)
    config.reload_config()
    for name in environment:
        del os.environ[name]
    _machine.features.cache_clear()
    print(_machine.vector_bits(), *sorted(_machine.features()))
"""
HOST = llvm.get_host_cpu_features()
AVX2 = {"avx", "avx2", "fma"}
AVX512 = AVX2 | {"avx512f", "avx512bw"}
TILES = {"amx-tile", "amx-int8"}

x86 = pytest.mark.skipif(not llvm.get_process_triple().startswith("x86_64"), reason="features of x86")


def told(environments, **own):
    """Vector bits and features under each of the environments, in one process."""
    process = processes.python("-c", TELL, json.dumps(environments), **own)
    assert process.returncode == 0, process.stderr
    return [(int(bits), set(features)) for bits, *features in map(str.split, process.stdout.splitlines())]


@pytest.fixture
def afresh(monkeypatch):
    """Features are found again in each test, not kept from the first."""
    monkeypatch.delenv("FASTCELL_VECTOR_BITS", raising=False)
    monkeypatch.delenv("FASTCELL_WITHOUT", raising=False)
    monkeypatch.setattr(config, "CPU_NAME", None)
    monkeypatch.setattr(config, "CPU_FEATURES", None)
    _machine.features.cache_clear()
    yield
    _machine.features.cache_clear()


@x86
@pytest.mark.parametrize(
    ("cpu", "changes", "bits", "features"),
    [
        ("generic", "", 128, set()),
        ("sandybridge", "", 128, {"avx"}),
        ("haswell", "", 256, AVX2),
        ("skylake-avx512", "", 512, AVX512),
        ("cascadelake", "", 512, AVX512 | {"avx512vnni"}),
        ("alderlake", "", 256, AVX2 | {"avxvnni"}),
        ("znver3", "", 256, AVX2),
        ("znver4", "", 512, AVX512 | {"avx512bf16", "avx512vnni"}),
        ("sapphirerapids", "", 512, AVX512 | {"avx512bf16", "avx512vnni", "avxvnni"}),
        ("sapphirerapids", "+amx-tile,+amx-int8", 512, AVX512 | {"avx512bf16", "avx512vnni", "avxvnni"} | TILES),
        ("znver4", "-avx512f", 256, AVX2),
        ("znver4", "-avx512bf16", 512, AVX512 | {"avx512vnni"}),
        ("znver4", "-avx2", 128, {"avx", "fma"}),
        ("haswell", "-fma", 128, {"avx", "avx2"}),
        ("haswell", "+avx512f,+avx512bw", 512, AVX512),
    ],
)
def test_a_named_cpu(afresh, monkeypatch, cpu, changes, bits, features):
    monkeypatch.setattr(_machine, "_tiles_allowed", lambda: True)
    monkeypatch.setattr(config, "CPU_NAME", cpu)
    monkeypatch.setattr(config, "CPU_FEATURES", changes)
    assert _jit.features() == features
    assert _machine.vector_bits() == bits


@x86
def test_the_environment_names_a_cpu():
    first, named, generic, changed, setting, unknown = told([
        {"NUMBA_CPU_NAME": "znver4", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_NAME": "haswell"},
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_FEATURES": "-avx"},
        {"NUMBA_ENABLE_AVX": "0"},
        {"NUMBA_CPU_NAME": "no-such-cpu"},  # LLVM warns, Numba goes on: so does this
    ])  # fmt: skip
    assert first[0] == 512
    assert named == ((256, AVX2) if HOST.get("avx2") else (128, set()))
    assert generic == (128, set())
    assert [bits for bits, _ in (changed, setting, unknown)] == [128] * 3


def test_without_the_user_s_word_it_is_this_cpu(afresh):
    has = {name for name, there in HOST.items() if there and (config.ENABLE_AVX or not name.startswith("avx"))}
    tiles = {name for name in _machine.KNOWN if name.startswith("amx")}
    assert _jit.features() in (has & _machine.KNOWN, (has & _machine.KNOWN) - tiles)  # the system may refuse tiles


@x86
def test_a_system_that_refuses_tiles(afresh, monkeypatch):
    monkeypatch.setattr(config, "CPU_NAME", "sapphirerapids")
    monkeypatch.setattr(config, "CPU_FEATURES", "+amx-tile,+amx-int8,+amx-bf16")
    monkeypatch.setattr(_machine, "_tiles_allowed", lambda: False)
    assert not {name for name in _jit.features() if name.startswith("amx")}


@x86
def test_a_virtual_machine_of_an_old_name(afresh, monkeypatch):
    """Numba turns AVX off where LLVM says nocona or sandybridge, whatever the CPU has."""
    monkeypatch.setattr(config, "ENABLE_AVX", False)
    assert not {name for name in _jit.features() if name.startswith("avx")}
    assert _machine.vector_bits() == 128


@x86
def test_a_named_cpu_does_not_gain_what_this_one_lacks(afresh, monkeypatch):
    """Numba lists this CPU's features under any name."""
    monkeypatch.setattr(config, "CPU_NAME", "sapphirerapids")
    assert _jit.features() <= {name for name, there in HOST.items() if there}
    _machine.features.cache_clear()
    monkeypatch.setattr(config, "CPU_NAME", "sandybridge")
    assert _machine.vector_bits() == 128


@x86
def test_features_can_be_taken_away(afresh, monkeypatch):
    monkeypatch.setattr(config, "CPU_NAME", "znver4")
    monkeypatch.setattr(config, "CPU_FEATURES", "")
    monkeypatch.setenv("FASTCELL_WITHOUT", "avx512bf16,avx512vnni")
    assert _jit.features() == AVX512
    _machine.features.cache_clear()
    monkeypatch.setenv("FASTCELL_WITHOUT", "avx512f,amx")
    with pytest.raises(ValueError, match=r"FASTCELL_WITHOUT must name features among amx-bf16, .*, got amx$"):
        _jit.features()


def test_vector_bits(afresh, monkeypatch):
    for bits in ("128", "256", "512"):
        monkeypatch.setenv("FASTCELL_VECTOR_BITS", bits)
        assert _machine.vector_bits() == int(bits)
    for bits in ("7", "", "wide", "1024"):
        monkeypatch.setenv("FASTCELL_VECTOR_BITS", bits)
        with pytest.raises(ValueError, match=f"^FASTCELL_VECTOR_BITS must be 128, 256 or 512, got '{bits}'$"):
            _machine.vector_bits()
    monkeypatch.delenv("FASTCELL_VECTOR_BITS")
    assert _machine.vector_bits() in (128, 256, 512)
