import pytest

from torchgraft.evaluate import _format

ESTIMATE = {"value": 0.012, "low": -0.003, "high": 0.026}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (12.4, "12 s"),
        (59.7, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3780, "1 h 03 min"),
    ],
)
def test_duration(seconds, words):
    assert _format.duration(seconds).replace("\u00a0", " ") == words


def test_points_carry_a_sign_and_a_true_minus():
    assert _format.points(ESTIMATE) == "+1.2 points [\u22120.3, +2.6]"
    none = {"value": -0.0, "low": -1e-5, "high": 0.0}
    assert _format.points(none) == "+0.0 points [+0.0, +0.0]", "nothing has one sign"


def test_share_and_plain():
    share = {"value": 0.941, "low": 0.91, "high": 0.965}
    assert _format.percent(0.941) == "94.1\u00a0%" and _format.span(share) == "91.0\u2009\u2013\u200996.5"
    assert "<b>0.94</b>" in _format.plain(share, 2) and _format.plain(0.5) == "<b>0.500</b>"


def test_text_is_escaped_and_clipped_before_escaping():
    assert _format.text("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert _format.clip("<<<<<<", 4) == "&lt;&lt;&lt;\u2026"


def test_count():
    assert _format.count(1, "photo") == "1 photo" and _format.count(1234, "class", "classes") == "1,234 classes"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (0.41249, "0.412"),
        (-1.5, "\u22121.5"),
        (12.44, "12.4"),
        (1250.0, "1,250"),
        (3e-4, "3e\u22124"),
        (1.95e-4, "1.9e\u22124"),
        (float("nan"), "not a number"),
        (float("inf"), "infinite"),
    ],
)
def test_short(value, words):
    assert _format.short(value) == words


def test_size_and_many_and_chance():
    assert [_format.size(v) for v in (640e6, 999.9e6, 1.234e9)] == ["640\u00a0MB", "1.0\u00a0GB", "1.2\u00a0GB"]
    assert [_format.many(v) for v in (850, 2_310, 22.7e6, 340e6)] == ["850", "2.3\u00a0k", "22.7\u00a0M", "340\u00a0M"]
    assert [_format.chance(p) for p in (1e-9, 0.0123, 0.5)] == ["p < 0.001", "p = 0.012", "p = 0.50"]


def test_section():
    assert _format.section("a", "B", "<p>c</p>") == '<section id="a"><h2>B</h2><p>c</p></section>'


def test_a_swatch_is_of_three_numbers_and_nothing_else():
    assert 'style="background:rgb(1 2 255)"' in _format.swatch([1, 2, 999])
    for other in (None, "red;x:url(//a)", [1, 2], [1, 2, "3"], {}):
        assert _format.swatch(other) == ""
