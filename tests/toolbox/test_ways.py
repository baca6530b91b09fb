"""Ways in a plane of two quantities: what is drawn in which panel."""

from ganbench import COLOURS, draw_ways


def test_a_panel_has_a_line_of_all_marks_and_a_star_at_the_last_for_each_way():
    ways = {f"seed {n}": ([0.0, 1.0, 2.0], [3.0, n, 1.0]) for n in range(9)}
    figure = draw_ways([("a_$b", "loss", ways), ("none", "loss", {})], 2, "distance")
    first, second = figure.axes
    assert (first.get_title(), first.get_xlabel(), figure.get_supylabel()) == ("a_$b", "loss", "distance")
    assert len(first.lines) == 2 * len(COLOURS) and not second.lines
    line, star = first.lines[2:4]
    assert list(line.get_ydata()) == [3, 1, 1] and list(star.get_xdata()) == [2] and star.get_marker() == "*"
    assert line.get_color() == star.get_color() == COLOURS[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(ways)[:7]
