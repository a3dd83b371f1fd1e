"""Guards: a day is one day however it is written, and what could be two days is none."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.data_plane.gateway.moments import Moment, days, moment, times

MONTHS = [dt.date(2000, month, 1).strftime("%B") for month in range(1, 13)]


@given(st.dates(), st.sampled_from(range(4)))
def test_every_way_of_writing_a_day_is_read(day: dt.date, way: int) -> None:
    month = MONTHS[day.month - 1]
    year = f"{day.year:04}"
    written = (
        f"{year}-{day.month:02}-{day.day:02}",
        f"{day.day}.{day.month}.{year}",
        f"{month} {day.day}th, {year}",
        f"the {day.day}th of {month[:3]} {year}",
    )[way]
    assert (day.year, day.month, day.day) in set(days(f"It is on {written}, I think."))
    assert moment(f"{year}-{day.month:02}-{day.day:02}") == Moment((day.year, day.month, day.day), None)


@pytest.mark.parametrize(
    "text", ["05/06/2024", "12024-05-06", "May", "the 40th of May", "1.2.3.2024", "maybe 5"]
)
def test_what_is_not_clearly_a_day_is_none(text: str) -> None:
    assert not list(days(text))


@pytest.mark.parametrize(
    ("text", "found"),
    [("at 12:00", (12, 0)), ("at 2 pm", (14, 0)), ("at 2:30PM", (14, 30)), ("at 12 a.m.", (0, 0)),
     ("by 9", None), ("25:10", None)],
)  # fmt: skip
def test_a_time_has_minutes_or_a_half_of_the_day(text: str, found: tuple[int, int] | None) -> None:
    assert list(times(text)) == ([] if found is None else [found])


@pytest.mark.parametrize("value", ["tomorrow", "2024-05-19 or so", "2024-13-01", "19.05.2024"])
def test_a_value_tells_a_moment_in_iso_form_only(value: str) -> None:
    assert moment(value) is None
