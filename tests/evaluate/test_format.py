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


def test_share_and_plain():
    share = {"value": 0.941, "low": 0.91, "high": 0.965}
    assert _format.percent(0.941) == "94.1\u00a0%" and _format.span(share) == "91.0\u2009\u2013\u200996.5"
    assert "<b>0.94</b>" in _format.plain(share, 2) and _format.plain(0.5) == "<b>0.500</b>"


def test_text_is_escaped_and_clipped_before_escaping():
    assert _format.text("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert _format.clip("<<<<<<", 4) == "&lt;&lt;&lt;\u2026"


def test_count():
    assert _format.count(1, "photo") == "1 photo" and _format.count(1234, "class", "classes") == "1,234 classes"
