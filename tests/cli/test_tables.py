"""The table of evaluations, as a person and as a file sees it."""

import io

import pytest

from surefoot.cli.tables import print_evaluations
from surefoot.evaluation.statistics import summarise


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def record(**changes):
    return {
        "task": "half-cheetah",
        "run": "half-cheetah/ppo-0",
        "algorithm": "ppo",
        "episodes": 1200,
        "return": summarise([1000.0, 3000.0]),
        "length": summarise([1000.0]),
        "falls": None,
        "seeds": [0, 1199],
    } | changes


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def printed(records, file):
    print_evaluations(records, file)
    return file.getvalue()


def test_a_file_gets_a_plain_line_and_a_line_of_details_per_run():
    travel = {"speed_m_s": 1.204, "net_speed_m_s": 0.16, "turn_deg_per_10_s": 224.6}
    text = printed([record(), record(run="another-run", falls=3, algorithm=None, travel=travel)], io.StringIO())
    header, first, second, *details = text.splitlines()
    assert " ".join(header.split()) == "run episodes return, mean ± sd IQM 95 % interval falls length"
    assert " ".join(first.split()) == "half-cheetah/ppo-0 1,200 2,000 ± 1,414 2,000 1,000 to 3,000 - 1,000"
    assert second.startswith("another-run") and second.split()[-2] == "3"
    assert details == [
        "half-cheetah/ppo-0: task half-cheetah, algorithm ppo",
        "another-run: task half-cheetah, algorithm -; 1.20 m/s along its path, 0.16 m/s net, turns 225° in 10 s",
    ]
    assert "\x1b" not in text


def test_a_piped_table_is_at_most_100_columns_wide():
    text = printed([record(run="a-very-long-name-" * 10)], io.StringIO())
    assert max(map(len, text.splitlines()[:-1])) <= 100


def test_a_terminal_gets_a_table_no_wider_than_it_is(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    text = printed([record()], Terminal())
    assert "\x1b[1m" in text and "half-cheetah/ppo-0" in text and "─" in text


def test_small_numbers_keep_a_decimal():
    text = printed([record(**{"return": summarise([-12.34, -12.34])})], io.StringIO())
    assert "-12.3 ± 0.0" in text


def test_missing_parts_show_as_dashes():
    assert printed([{}], io.StringIO()).splitlines()[1].split() == ["-"] * 7


def test_brackets_in_a_name_are_only_brackets():
    assert "[bold]run[/]" in printed([record(run="[bold]run[/]")], io.StringIO())


def test_a_file_that_knows_no_unicode_gets_none():
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    print_evaluations([record()], file)
    file.flush()
    assert b"2,000 +- 1,414" in raw.getvalue()
