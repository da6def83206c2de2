from torchgraft.evaluate._advice import next_steps

WEAK = {"class": "<bee>", "recall": {"value": 0.5, "low": 0.4, "high": 0.6}, "support": 40}
GOOD = {"class": "ant", "recall": {"value": 0.95, "low": 0.9, "high": 1.0}, "support": 40}


def test_nothing_known_asks_for_a_test_set_alone():
    assert len(next_steps({})) == 1 and "--test" in next_steps({})[0]


def test_errors_come_before_warnings_and_notes_are_left_out():
    findings = [
        {"severity": "note", "message": "quiet"},
        {"severity": "warning", "message": "some <i>copies</i>"},
        {"severity": "error", "message": "unreadable"},
    ]
    (step,) = next_steps({"data": {"findings": findings}, "test": {"per_class": []}})
    assert step.index("unreadable") < step.index("some &lt;i&gt;copies") and "quiet" not in step


def test_the_weakest_class_is_named_where_it_matters():
    (step,) = next_steps({"test": {"per_class": [GOOD, WEAK]}})
    assert "&lt;bee&gt; is the weakest class" in step
    assert next_steps({"test": {"per_class": [GOOD, {**GOOD, "class": "bee"}]}}) == []
    assert next_steps({"test": {"per_class": [GOOD, {**WEAK, "support": 3}]}}) == []


def test_one_label_is_singular():
    (step,) = next_steps({"label_errors": [{}], "test": {"per_class": []}})
    assert "Check 1 label</b> that looks wrong" in step


def test_all_labels_to_check_are_counted_not_the_shown_ones() -> None:
    (step,) = next_steps({"label_errors": [{}] * 24, "label_errors_found": 130, "test": {"per_class": []}})
    assert "Check 130 labels</b> that look wrong" in step and "the 24 likeliest are listed below" in step


def test_a_threshold_of_0_leaves_nothing_to_a_person():
    rule = {"threshold": 0.0, "coverage": 1.0, "accuracy": 0.97}
    assert next_steps({"abstain": rule, "test": {"per_class": []}}) == []
    (step,) = next_steps({"abstain": {**rule, "threshold": 0.6, "coverage": 0.8}, "test": {"per_class": []}})
    assert "under 0.60" in step and "80" in step


def test_the_weakest_class_of_pixels_is_the_one_least_overlapped(dense_report, tested_dense) -> None:
    for report in (dense_report, tested_dense):
        (step,) = (one for one in next_steps(report) if "weakest" in one)
        pole = report["held_out"]["per_class"][2]
        assert step.startswith(f"<b>pole is the weakest class.</b> IoU {100 * pole['iou']['value']:.1f}")
        assert "of the pixels called pole 100\u00a0% are." in step and "of it is taken for road." in step
    assert any("Bring a test set" in one for one in next_steps(dense_report))
    assert not any("Bring a test set" in one for one in next_steps(tested_dense))
    for row in dense_report["held_out"]["per_class"]:
        row["iou"] = {"value": 0.8, "low": 0.7, "high": 0.9}
    assert not any("weakest" in one for one in next_steps(dense_report))


def test_a_class_taken_for_nothing_much_has_no_such_word(dense_report) -> None:
    dense_report["held_out"]["confusion"] = None
    assert any("pole is the weakest" in one and "taken for" not in one for one in next_steps(dense_report))
