"""The last ten minutes: what goes in comes out, in bounds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from proxtop.model import Value
from proxtop.tui.history import History, packed, series
from proxtop.tui.text import PLAIN_SPARKS, SPARKS, sparkline
from tests.tui.recorded import many, recorded

VALUES = st.one_of(
    st.none(), st.booleans(), st.text(max_size=4), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.one_of(st.lists(VALUES), st.lists(st.one_of(st.none(), st.floats(allow_nan=False))),
                 st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)))))  # fmt: skip
def test_a_column_comes_out_as_it_went_in(column: list[Value]) -> None:
    kept = packed(column)
    assert kept.values() == column
    assert list(map(type, kept.values())) == list(map(type, column))
    assert [kept.one(place) for place in range(len(column))] == column


def test_a_snapshot_comes_out_as_it_went_in() -> None:
    history = History()
    for number, (stamp, snapshot) in enumerate([*recorded(), many(50, 1), many(50, 2)]):
        history.add(stamp, snapshot, float(number))
        entry = history.find(None)
        assert entry is not None
        assert entry.snapshot() == replace(snapshot, tables=dict(snapshot.tables))


def test_columns_that_stay_the_same_are_kept_once() -> None:
    history = History()
    stamp, snapshot = many(100)
    history.add(stamp, snapshot, 0.0)
    first = history.bytes
    history.add(stamp, snapshot, 2.0)
    assert history.bytes - first < first / 10
    one, two = list(history)
    assert one.tables["vm"].columns["name"] is two.tables["vm"].columns["name"]


def test_it_is_bounded_in_time_count_and_bytes() -> None:
    stamp, snapshot = recorded()[0]
    for history, most in ((History(span=20.0), 11), (History(count=5), 5), (History(limit=100_000), 40)):
        for number in range(200):
            history.add(stamp, many(3, number)[1] if number % 50 == 0 else snapshot, number * 2.0)
        assert 1 < len(history) <= max(most, 5)
        assert history.bytes >= 0
    assert History(limit=1).bytes == 0


def test_bytes_count_what_is_kept() -> None:
    history = History(limit=200_000)
    for number in range(50):
        history.add(*many(20, number), number * 2.0)
    assert history.bytes <= 200_000
    assert history.bytes == sum(entry.bytes for entry in history)


def test_stepping_stays_within_what_there_is() -> None:
    history = History()
    assert history.step(None, -1) is None
    stamp, snapshot = recorded()[0]
    for number in range(3):
        history.add(stamp, snapshot, float(number))
    assert history.step(None, 0) == 2.0
    assert history.step(None, -1) == 1.0
    assert history.step(1.0, -5) == 0.0
    assert history.step(0.0, 9) == 2.0


def test_cycles_that_come_at_once_are_stepped_through_one_by_one() -> None:
    history = History()
    stamp, snapshot = recorded()[0]
    for number, came in enumerate((0.0, 1.0, 1.0, 1.0, 2.0)):
        history.add(replace(stamp, cycle=number), snapshot, came)
    found, at = [], history.step(None, -9)
    for _ in range(5):
        entry = history.find(at)
        assert entry is not None
        found.append(entry.stamp.cycle)
        at = history.step(at, 1)
    assert found == [0, 1, 2, 3, 4]


def test_a_series_has_a_gap_where_nothing_is_known() -> None:
    history = History()
    stamp, snapshot = recorded()[0]
    row = snapshot.tables["vm"].ids[0]
    history.add(stamp, snapshot, 0.0)
    history.add(stamp, replace(snapshot, tables={}), 2.0)
    found = series(list(history), "vm", row, "cpu_total")
    assert found[0] is not None
    assert found[1] is None


def test_a_sparkline_has_a_character_for_each_value() -> None:
    assert sparkline([0.0, 50.0, 100.0], high=100.0, sparks=SPARKS) == "▁▅█"
    assert sparkline([None, 1.0], sparks=PLAIN_SPARKS) == " #"
    assert sparkline([0.0, 0.0], sparks=SPARKS) == "▁▁"
    assert sparkline([5000.0, -1.0], high=100.0, sparks=SPARKS) == "█▁"
