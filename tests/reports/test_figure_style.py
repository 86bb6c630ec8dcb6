"""Figures as SVG elements of a page."""

import re

from matplotlib.figure import Figure

from surefoot.reports.figure_style import as_svg


def test_coordinates_are_rounded_and_texts_are_not():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0.0, 1.23456], [2.0, 3.456789])
    axes.set_title("rate 0.00022341")
    svg = as_svg(figure, "rates", "Two rates")
    assert "rate 0.00022341" in re.sub(r"<!--.*?-->", "", svg)
    assert not re.search(r'd="[^"]*\d\.\d{3}', svg)
