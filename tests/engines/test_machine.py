"""Processors, described: what a /proc/cpuinfo says of them."""

from __future__ import annotations

import pytest

from engines.machine import WITHOUT_DOT_PRODUCTS, Processor, described

HASWELL = "sse2 ssse3 sse4_1 sse4_2 avx avx2 fma"
SKYLAKE = f"{HASWELL} avx512f avx512bw avx512vl"
CASCADE_LAKE = f"{SKYLAKE} avx512_vnni"
SAPPHIRE_RAPIDS = f"{CASCADE_LAKE} avx512_bf16 avx_vnni amx_bf16 amx_tile amx_int8"
ZEN_3 = f"{HASWELL} sse4a vaes"
ALDER_LAKE = f"{HASWELL} avx_vnni"
GRAVITON = "fp asimd asimddp i8mm bf16"


def a_processor(flags: str, limit: str = "") -> Processor:
    key = "Features" if "asimd" in flags else "flags"
    return described(f"processor\t: 0\nmodel name\t: A Processor\n{key}\t\t: {flags}\n\nprocessor\t: 1\n", limit)


@pytest.mark.parametrize("flags", [HASWELL, SKYLAKE, ZEN_3, "sse2"])
def test_without_dot_products_sums_are_cut_off(flags):
    assert a_processor(flags).saturates


@pytest.mark.parametrize("flags", [CASCADE_LAKE, SAPPHIRE_RAPIDS, ALDER_LAKE, GRAVITON])
def test_with_them_they_are_not(flags):
    assert not a_processor(flags).saturates


@pytest.mark.parametrize("limit", [*sorted(WITHOUT_DOT_PRODUCTS), "avx2"])
def test_a_library_that_is_told_to_do_without_counts_as_a_processor_without(limit):
    held = a_processor(SAPPHIRE_RAPIDS, limit)
    assert held.saturates
    assert str(held) != str(a_processor(SAPPHIRE_RAPIDS))  # compiled networks are kept by it


@pytest.mark.parametrize("limit", ["AVX2_VNNI", "AVX512_CORE_VNNI", "AVX512_CORE_AMX", "DEFAULT"])
def test_a_limit_that_leaves_them_changes_nothing(limit):
    assert not a_processor(SAPPHIRE_RAPIDS, limit).saturates


def test_a_processor_of_which_nothing_is_known_is_taken_for_nothing():
    assert not described("").known
    assert not described("").saturates
