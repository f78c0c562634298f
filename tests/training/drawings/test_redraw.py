"""Icons take on other looks without losing their shapes."""

from training.drawings.redraw import VARIANTS, mean_colours, parse_colour, redraw

STOPS = '<stop stop-color="#000"/><stop stop-color="#ffffff"/>'
GRADIENT = f'<defs><linearGradient id="g">{STOPS}</linearGradient></defs>'
ICON = GRADIENT + '<path fill="url(#g)" stroke-width="0" filter="url(#f)" d="M0 0h8v8z"/>'


def test_a_gradient_becomes_its_mean_colour() -> None:
    assert mean_colours(ICON) == {"g": "#808080"}
    assert 'fill="#808080"' in redraw(ICON, "flat", 8)


def test_a_gradient_that_is_mostly_see_through_is_left_out() -> None:
    glass = ICON.replace('stop-color="#000"', 'stop-color="#000" stop-opacity="0"')
    assert mean_colours(glass) == {"g": "none"}


def test_plain_is_untouched() -> None:
    assert redraw(ICON, "plain", 8) == ICON


def test_every_variant_keeps_the_shape() -> None:
    assert all('d="M0 0h8v8z"' in redraw(ICON, variant, 8) for variant in VARIANTS)


def test_outlines_are_black_and_no_shape_opts_out() -> None:
    outlined = redraw(ICON, "thick", 30)
    assert 'stroke="#000" stroke-width="1.000"' in outlined
    assert 'stroke-width="0"' not in outlined


def test_outlined_shapes_are_white_inside() -> None:
    assert 'fill="#fff" d=' in redraw(ICON, "thin", 8).replace("  ", " ")


def test_colours_are_read_in_both_lengths() -> None:
    assert parse_colour("#f80") == (255, 136, 0) == parse_colour("#ff8800")
    assert parse_colour("none") is None
