"""Progress where there is no terminal: a line every half minute, nothing for short work, and only if it is wanted."""

import io
import time

import pytest

from keras_genzoo import progress


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.05)


def slow(items):
    for item in items:
        time.sleep(0.04)
        yield item


@pytest.mark.parametrize("total", [None, 5])
def test_a_sequence_says_where_it_is(total, often, capsys):
    items = progress.track(slow(range(5)), "counting", verbose=True, total=total)
    assert list(items) == [0, 1, 2, 3, 4]
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert 2 <= len(lines) <= 4
    for i, line in enumerate(lines):
        assert line.startswith("counting: ")
        assert int(line.split()[1].rstrip(",")) >= i
        assert ("of 5" in line) == ("left" in line) == (total is not None)


def test_the_length_is_that_of_the_sequence(often, capsys):
    for _ in progress.track(range(3), "counting", verbose=True):
        time.sleep(0.06)
    assert "of 3" in capsys.readouterr().err


def test_work_of_unknown_length_says_how_long_it_has_lasted(often, monkeypatch, capsys):
    with progress.working("exporting"):
        time.sleep(0.12)
    assert set(capsys.readouterr().err.splitlines()) == {"exporting: 0 s so far"}


def test_it_is_silent_where_it_is_short_or_not_wanted(often, monkeypatch, capsys):
    with progress.working("exporting", verbose=False):
        list(progress.track(slow(range(3)), "counting", verbose=False))
    monkeypatch.setattr(progress, "EVERY", 30.0)
    start = time.monotonic()
    with progress.working("exporting"):
        list(progress.track(slow(range(3)), "counting", verbose=True))
    assert time.monotonic() - start < 5  # and does not wait for the next line
    assert capsys.readouterr().err == ""


def test_an_error_or_a_break_ends_the_lines(often, capsys):
    with pytest.raises(KeyError), progress.working("exporting"):
        raise KeyError
    for _ in progress.track(slow(range(100)), "counting", verbose=True):
        break
    time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_a_closed_stderr_ends_no_work(often, monkeypatch):
    closed = io.StringIO()
    closed.isatty = lambda: False
    monkeypatch.setattr("sys.stderr", closed)
    with progress.working("exporting"):
        closed.write = lambda text: (_ for _ in ()).throw(BrokenPipeError)
        time.sleep(0.12)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (195, "3 min 15 s"), (7500, "2 h 05 min")]
)
def test_times_in_words(seconds, text):
    assert progress.duration(seconds) == text


def test_a_position_in_words():
    assert progress.position("a", 0, 9, 30) == "a: 0 of 9"
    assert progress.position("a", 3, 9, 30) == "a: 3 of 9, 10 s each, 1 min 00 s left"
    assert progress.position("a", 300, None, 30) == "a: 300, 10/s"
