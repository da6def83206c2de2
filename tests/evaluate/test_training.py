"""How it trained: present where a rung trained, in the order of things, nothing believed of what the data holds."""

from __future__ import annotations

import copy
import json
import math
import re

import pytest

from torchgraft.evaluate._training import training, under_way

EVIL = "</script><img src=x onerror=alert(1)>\"'&"


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).replace("\u00a0", " ")


def test_nothing_trained_nothing_said(rung) -> None:
    assert training({}) == training({"ladder": None}) == training({"ladder": [{"method": "lda"}]}) == ""
    assert training({"ladder": [{**rung, "training": []}]}) == ""
    assert training({"ladder": [{**rung, "training": [{"curve": [], "legs": []}]}]}) == ""


def test_curves_rates_phases_and_costs_are_told(rung) -> None:
    html = training({"ladder": [rung]})
    words = _words(html)
    assert html.startswith('<section id="training">') and "lp_ft on packaged/minilm_l6" in words
    assert "38 s \u00b7 1 min 03 s of CPU \u00b7 1.2 GB" in words
    for title in ("Training loss", "Held-out loss", "Held-out accuracy", "Learning rate", "What trained when"):
        assert f"<h4>{title}</h4>" in html
    assert "Grey: each fold. Blue: the training on all samples, or the mean of the folds." in words
    assert "1 head under 0.1 % 2.3 k of 22.7 M 3e\u22124 frozen 1" in words
    assert "2 all layers all 22.7 M of 22.7 M 3e\u22124 affine 3" in words
    assert "Rates layer by layer" in words and "embeddings frozen 5.4e\u22125" in words


def test_the_held_out_curve_is_the_mean_of_the_folds_without_what_was_undone(rung) -> None:
    words = _words(training({"ladder": [rung]}))
    folds = [[leg for leg in one["legs"] if leg["loss"] < 5] for one in rung["training"][:2]]
    before, kept = (sum(legs[k]["loss"] for legs in folds) / 2 for k in (0, 3))
    assert f"{before:.3f} before, {kept:.3f} after epoch 3, which is kept (ring)" in words
    before, kept = (100 * sum(legs[k]["accuracy"] for legs in folds) / 2 for k in (0, 3))
    assert f"{before:.1f} % before, {kept:.1f} % after epoch 3, which is kept (ring)" in words


def test_repairs_are_marked_and_said_in_words(rung) -> None:
    html = training({"ladder": [rung]})
    assert html.count('class="mended"') == 1 and "a triangle marks a repair" in html
    assert (
        "fold 2 of 2, step 60 : the held-out loss went from 0.9 to 5.2. Went back to the last good state; "
        "from there the rate is 0.1 of the planned one." in _words(html)
    )
    quiet = {**rung, "training": [rung["training"][0], rung["training"][2]]}
    assert "repair" not in training({"ladder": [quiet]})


def test_many_repairs_fold_away(rung) -> None:
    rung["training"][1]["repairs"] *= 12
    assert "<summary>4 more</summary>" in training({"ladder": [rung]})


def test_early_ends_and_averages_are_said(rung) -> None:
    rung["training"][0]["stopped"] = "no better held-out loss for 3 legs"
    rung["training"][2]["average"] = "ema, wise 0.5"
    words = _words(training({"ladder": [rung]}))
    assert "fold 1 of 2 ended early: no better held-out loss for 3 legs." in words
    assert "a moving average over the steps. They are mixed with those from before training (ema, wise 0.5)." in words


def test_when_the_start_is_best_it_says_so(rung) -> None:
    rung["options"]["epochs"] = 0
    assert "before; nothing after it was better" in _words(training({"ladder": [rung]}))


def test_one_rate_for_all_layers_needs_no_table_of_rates(rung) -> None:
    for one in rung["training"]:
        one["phases"] = [{**one["phases"][1], "groups": [{"name": name, "rate": 1e-4} for name in ("a", "head")]}]
    assert "Rates layer by layer" not in training({"ladder": [rung]})


def test_only_a_training_on_all_samples(rung, make_history) -> None:
    words = _words(training({"ladder": [{**rung, "training": [make_history("all samples", held_out=False)]}]}))
    assert "Training loss" in words and "Held-out" not in words and "Grey" not in words


def test_measures_within_an_epoch_are_not_called_epochs(rung) -> None:
    one = rung["training"][0]
    one["legs"] += [{**one["legs"][-1], "step": 80 + k} for k in range(1, 4)]
    assert ">measurement</text>" in training({"ladder": [rung]})


def test_the_training_under_way_is_a_section_of_its_own(make_history) -> None:
    history = make_history("fold 2 of 5")
    html = under_way({"running": {"what": "lp_ft, fold 2 of 5", "history": history}})
    assert "<h2>Under way: lp_ft, fold 2 of 5</h2>" in html and "after epoch 4, the best (ring)" in _words(html)
    assert "Under way: fold 2 of 5" in under_way({"running": {"history": history}})
    history["legs"], history["curve"] = history["legs"][:1], []
    assert "Held-out loss" in under_way({"running": {"history": history}})
    assert under_way({}) == under_way({"running": {"what": "x"}}) == under_way({"running": {"history": {}}}) == ""


def _replaced(value, new):
    if isinstance(value, dict):
        return {key: _replaced(one, new) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, new) for one in value]
    return new(value)


def test_every_text_is_escaped(rung) -> None:
    hostile = _replaced(rung, lambda value: EVIL if isinstance(value, str) else value)
    page = training({"ladder": [hostile]}) + under_way({"running": {"what": EVIL, "history": hostile["training"][1]}})
    assert "<img" not in page and "</script>" not in page
    assert "&lt;img src=x" in page


@pytest.mark.parametrize("new", [None, math.nan, math.inf])
def test_numbers_that_are_missing_or_not_finite_do_no_harm(rung, new) -> None:
    hostile = copy.deepcopy(rung)
    for one in hostile["training"]:
        one["curve"] = [[step, new, new] for step, _, _ in one["curve"]]
        one["legs"] = [{**leg, "loss": new, "accuracy": new, "train_loss": new} for leg in one["legs"]]
    assert "How it trained" in training({"ladder": [hostile]})
    hostile = _replaced(rung, lambda value: new if isinstance(value, float) else value)
    assert "How it trained" in training({"ladder": [hostile]})


def test_any_key_may_be_missing(rung) -> None:
    for key in rung["training"][0]:
        part = [{k: v for k, v in one.items() if k != key} for one in rung["training"]]
        assert "How it trained" in training({"ladder": [{**rung, "training": part}]})
    for key in ("name", "rate", "norm", "epochs", "steps", "trained", "parameters", "groups"):
        part = json.loads(json.dumps(rung["training"]))
        for one in part:
            for phase in one["phases"]:
                del phase[key]
        assert "What trained when" in training({"ladder": [{**rung, "training": part}]})


def test_a_stand_in_for_the_main_metric_is_called_so(rung) -> None:
    primary = {"metric": "miou", "title": "m<IoU>"}
    words = _words(training({"ladder": [rung], "primary": primary}))
    assert "which is kept (ring); a quick check on a part of them, not the m&lt;IoU&gt;" in words
    assert "quick check" not in training({"ladder": [rung]})
    for one in rung["training"]:
        for k, leg in enumerate(one["legs"]):
            leg["miou"] = k / 10
    html = training({"ladder": [rung], "primary": primary})
    assert "<h4>Held-out m&lt;IoU&gt;</h4>" in html and "0.0 % before" in _words(html)
