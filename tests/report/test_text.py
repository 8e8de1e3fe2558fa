from __future__ import annotations

import pytest

from hwnas.report import text as formats


def spaced(text: str) -> str:
    return text.replace(formats.SPACE, " ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (9.996, "10.00"),
        (4.1234, "4.12"),
        (41.27, "41.3"),
        (412.6, "413"),
        (1414.4, "1,414"),
        (-0.5, "-0.500"),
    ],
)
def test_three_digits_are_kept_but_never_ones_rounded_away(value: float, text: str) -> None:
    assert formats.significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 MACs"),
        (999, "999 MACs"),
        (1000, "1.00 k MACs"),
        (2_394_112, "2.39 M MACs"),
        (6.1e11, "610 G MACs"),
        (2.5e15, "2.50 P MACs"),
    ],
)
def test_counts_have_their_prefix(value: float | None, text: str) -> None:
    assert spaced(formats.count(value, "MACs")) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1024, "1,024"),
        (999_999, "999,999"),
        (6.4e17, "6.4×10¹⁷"),
        (1e6, "1.0×10⁶"),
    ],
)
def test_sizes_of_spaces_are_readable_at_any_magnitude(value: float | None, text: str) -> None:
    assert formats.large(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.42, "0.42 s"),
        (44.0, "44.0 s"),
        (59.9, "59.9 s"),
        (61, "1 min 1 s"),
        (3599.6, "1 h 0 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_change_unit_without_a_gap(value: float | None, text: str) -> None:
    assert spaced(formats.seconds(value)) == text


@pytest.mark.parametrize(("fraction", "text"), [(0.0123, "+1.2 %"), (-0.004, "−0.4 %")])
def test_differences_carry_their_sign(fraction: float, text: str) -> None:
    assert spaced(formats.signed_percent(fraction)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(999, "0.999 kB"), (261_400, "261 kB"), (13_400_000, "13.4 MB")]
)
def test_file_sizes_are_in_powers_of_ten(value: int, text: str) -> None:
    assert spaced(formats.size(value)) == text


def test_plain_values_of_files_are_written_for_people() -> None:
    assert formats.plain(None) == "–"
    assert formats.plain(True) == "yes"
    assert formats.plain([1, 2.0, "x"]) == "1, 2, x"
    assert formats.plain(0.30000000000000004) == "0.3"


def test_an_absent_value_is_a_dash_in_every_format() -> None:
    for write in (formats.ms, formats.percent, formats.integer, formats.size, formats.tiny):
        assert write(None) == "–"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.1.0", "litert 2.1.0"),
        ("litert 2.1.0", "litert 2.1.0"),
        ("", "litert"),
        (None, "litert"),
    ],
)
def test_a_runtime_is_named_once(version, said):
    assert formats.runtime_text("litert", version) == said
