from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from torchgraft.align import Aligned, Domains, align, base
from torchgraft.align.base import check_range, needs_labels
from torchgraft.core import registry
from torchgraft.core.errors import DataError, OptionError, UnknownName
from torchgraft.core.options import build
from torchgraft.features.mapping import mapping_from_state
from torchgraft.model.heads import head_from_state

METHODS = [name for name in registry.names("align") if name]
INDUCTIVE_SOURCE = [name for name in METHODS if name != "sinkhorn"]


def fitted(name, domains, **options):
    entry = registry.get("align", name)
    return entry.fit(domains, build(entry.Options, options, where=name))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name, domains):
    entry = registry.get("align", name)
    assert {"Options", "fit", "applies"} <= set(vars(entry))
    assert entry.applies(domains) == ""
    before = domains.xs.copy(), domains.xt.copy()
    aligned = fitted(name, domains)
    assert len(aligned.zs) == len(domains.xs)
    assert len(aligned.zt) == len(domains.xt)
    assert aligned.zs.shape[1] == aligned.zt.shape[1]
    assert aligned.zs.dtype == aligned.zt.dtype == np.float32
    assert np.isfinite(aligned.zs).all() and np.isfinite(aligned.zt).all()
    assert (before[0] == domains.xs).all() and (before[1] == domains.xt).all()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_deterministic(name, domains):
    one, two = fitted(name, domains), fitted(name, domains)
    np.testing.assert_array_equal(one.zs, two.zs)
    np.testing.assert_array_equal(one.zt, two.zt)


@pytest.mark.parametrize("name", METHODS)
def test_mappings_give_the_aligned_rows_and_save(name, domains):
    aligned = fitted(name, domains)
    for mapping, x, z in ((aligned.source, domains.xs, aligned.zs), (aligned.target, domains.xt, aligned.zt)):
        if mapping is None:
            assert name not in INDUCTIVE_SOURCE
            continue
        again = mapping_from_state(mapping.kind, *mapping.state())
        np.testing.assert_allclose(again.transform(x), z, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(
            again.transform(x[:3]), z[:3], rtol=1e-4, atol=1e-4
        )  # a row does not need the others


@pytest.mark.parametrize("name", METHODS)
def test_heads_save_and_know_every_class(name, make_shifted):
    """Class 1 of 4 has no sample in the source: it is never the largest."""
    xs, ys, xt, _ = make_shifted()
    aligned = fitted(name, Domains(xs=xs, ys=np.array([0, 2, 3])[ys], xt=xt, n_classes=4))
    if aligned.head is None:
        return
    config, arrays = aligned.head.state()
    logits = head_from_state(aligned.head.kind, config, arrays).logits(aligned.zt)
    assert logits.shape == (len(xt), 4)
    assert np.isfinite(logits).all()
    assert not (logits.argmax(axis=1) == 1).any()


@pytest.mark.parametrize("name", METHODS)
def test_more_features_than_samples_and_constant_columns(name):
    rng = np.random.default_rng(0)
    xs, xt = rng.normal(size=(12, 40)), rng.normal(size=(9, 40)) + 1
    xs[:, 0] = xt[:, 0] = 5
    aligned = fitted(name, Domains(xs=xs, ys=np.arange(12) % 3, xt=xt))
    assert np.isfinite(aligned.zs).all() and np.isfinite(aligned.zt).all()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [1e-33, 1e-18, 1e12])
def test_columns_of_another_size(name, size, make_shifted):
    """A dead unit of a network (1e-33), and a user's columns in other units."""
    xs, ys, xt, _ = make_shifted()
    xs[:, 2] *= size
    xt[:, 2] *= size
    aligned = fitted(name, Domains(xs=xs, ys=ys, xt=xt))
    assert np.isfinite(aligned.zs).all() and np.isfinite(aligned.zt).all()


@pytest.mark.parametrize("name", METHODS)
def test_data_without_any_spread(name):
    """Equal rows carry nothing; what comes back is finite, or a clear error."""
    rows = np.ones((6, 3))
    try:
        aligned = fitted(name, Domains(xs=rows, ys=np.arange(6) % 2, xt=rows))
    except DataError:
        return
    assert np.isfinite(aligned.zs).all() and np.isfinite(aligned.zt).all()


def test_a_target_label_has_no_way_in(domains):
    with pytest.raises(TypeError):
        Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, yt=np.zeros(97, dtype=int))


@pytest.mark.parametrize("name", [n for n in METHODS if registry.get("align", n).applies is needs_labels])
def test_methods_that_need_labels_say_so(name, domains):
    applies = registry.get("align", name).applies
    assert "none are given" in applies(Domains(xs=domains.xs, xt=domains.xt))
    assert "single class" in applies(Domains(xs=domains.xs, xt=domains.xt, ys=np.zeros(90, dtype=int)))


def test_by_name(domains):
    aligned = align("pca", domains.xs, None, domains.xt, options={"k": 2})
    assert aligned.zt.shape == (97, 2)
    np.testing.assert_array_equal(aligned.transform(domains.xt), aligned.zt)
    with pytest.raises(UnknownName, match="Did you mean 'coral'"):
        align("corall", domains.xs, None, domains.xt)
    with pytest.raises(OptionError, match="no option 'kk'"):
        align("pca", domains.xs, None, domains.xt, options={"kk": 2})
    with pytest.raises(DataError, match="jda can't run: it learns from the classes"):
        align("jda", domains.xs, None, domains.xt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xs": np.ones((5, 2))}, "D = 2 and D = 6"),
        ({"xs": np.ones(5)}, "xs expects numbers N x D, got float64 of shape 5"),
        ({"xt": np.array([["a"] * 6] * 2)}, "xt expects numbers"),
        ({"xt": np.ones((1, 6))}, "at least 2 samples"),
        ({"xt": np.full((3, 6), np.nan)}, "NaN or infinite values in 3 of 3"),
        ({"xt": sparse.csr_matrix(np.ones((3, 6)))}, "xt is sparse"),
        ({"ys": np.zeros(3, dtype=int)}, "ys expects 90 class indices"),
        ({"ys": np.zeros(90)}, "got float64"),
        ({"n_classes": 2}, "from 0 to 1, got 0 to 2"),
        ({"ys": np.full(90, -1)}, "got -1 to -1"),
    ],
)
def test_bad_domains(domains, change, message):
    given = {"xs": domains.xs, "ys": domains.ys, "xt": domains.xt} | change
    with pytest.raises(DataError, match=message):
        Domains(**given)


def test_all_faults_in_one_message():
    with pytest.raises(DataError, match="xs expects numbers.*xt has NaN"):
        Domains(xs=np.ones(3), xt=np.full((2, 2), np.inf))


def test_effective_size_hand_worked():
    z = np.zeros((4, 1), dtype=np.float32)
    assert Aligned(zs=z, zt=z).effective_size == 4
    assert Aligned(zs=z, zt=z, weights=np.array([2.0, 2, 0, 0])).effective_size == 2
    assert Aligned(zs=z, zt=z, weights=np.array([4.0, 0, 0, 0])).effective_size == 1


def test_transductive_says_so():
    z = np.zeros((2, 1), dtype=np.float32)
    with pytest.raises(DataError, match="fit it again"):
        Aligned(zs=z, zt=z).transform(z)


def test_ranges_are_told_together():
    with pytest.raises(OptionError, match=r"k expects a number in \[1, 5\], got 0; b expects"):
        check_range(k=(0, 1, 5), b=(9, 0, 1))
    with pytest.raises(OptionError):
        check_range(k=(float("nan"), 0, 1))


def words(n, v=4, seed=0):
    return sparse.random(n, v, density=0.5, format="csr", random_state=seed)


def test_a_half_is_a_problem_of_the_source_alone(domains):
    beside = words(90), words(97, seed=1)
    given = Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, n_classes=5, beside=beside)
    fit, asked = np.arange(0, 90, 2), np.array([1, 5, 3])
    half = given.half(fit, asked)
    np.testing.assert_array_equal(half.xs, given.xs[::2])
    np.testing.assert_array_equal(half.xt, given.xs[[1, 5, 3]])
    np.testing.assert_array_equal(half.ys, given.ys[::2])
    assert half.n_classes == 5
    np.testing.assert_array_equal(half.beside[0].toarray(), beside[0].toarray()[::2])
    np.testing.assert_array_equal(half.beside[1].toarray(), beside[0].toarray()[[1, 5, 3]])
    assert domains.half(fit, asked).beside is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((90, 4, 97, 5), "beside expects 90 x V and 97 x V columns, got 90 x 4 and 97 x 5"),
        ((89, 4, 97, 4), "got 89 x 4 and 97 x 4"),
        ((90, 4, 90, 4), "got 90 x 4 and 90 x 4"),
    ],
)
def test_what_is_beside_has_to_fit(domains, sizes, message):
    n, v, m, w = sizes
    with pytest.raises(DataError, match=message):
        Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, beside=(words(n, v), words(m, w)))


@pytest.mark.parametrize("name", METHODS)
def test_no_method_moves_what_is_beside(name, domains):
    beside = words(90), words(97, seed=1)
    before = [one.toarray() for one in beside]
    aligned = fitted(name, Domains(xs=domains.xs, ys=domains.ys, xt=domains.xt, beside=beside))
    assert (beside[0].toarray() == before[0]).all() and (beside[1].toarray() == before[1]).all()
    if aligned.head is None:  # the classifier is fitted by whoever asked, on both
        np.testing.assert_array_equal(aligned.zs, fitted(name, domains).zs)
    else:
        width = aligned.zt.shape[1]
        assert aligned.head.weight.shape[1] in (width, width + 4)


WEIGHTED = {
    "standardise": {},
    "coral": {},
    "linear_ot": {},
    "sa": {"k": 3},
    "gfk": {"k": 2},
    "tca": {"k": 3},
    "jda": {"k": 3, "rounds": 3},
    "bda": {"k": 3, "rounds": 3, "classifier": "logistic"},
    "sinkhorn": {},
    "centroids": {"align_means": True},
    "pseudo_label": {"rounds": 2},
}


def _two_sources() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 rows of one source, 40 of another, 60 of the target."""
    rng = np.random.default_rng(3)
    ys = np.arange(80) % 2
    xs = rng.normal(size=(80, 5)) + 3 * ys[:, None] * np.eye(5)[0]
    xs[40:] = 2 * xs[40:] - 1
    return xs, ys, rng.normal(size=(60, 5)) + 3 * (np.arange(60) % 2)[:, None] * np.eye(5)[0] + 0.5


def _answers(aligned, xt: np.ndarray) -> np.ndarray:
    """What later target rows become, and what a method's own classifier says of them."""
    z = aligned.transform(xt)
    return z if aligned.head is None else aligned.head.logits(z)


@pytest.mark.parametrize("method", sorted(WEIGHTED))
def test_equal_weights_change_nothing(method: str) -> None:
    xs, ys, xt = _two_sources()
    plain = align(method, xs, ys, xt, options=WEIGHTED[method])
    same = align(method, xs, ys, xt, weights=np.full(80, 7.0), options=WEIGHTED[method])
    np.testing.assert_allclose(abs(plain.zs), abs(same.zs), atol=1e-4)
    np.testing.assert_allclose(abs(_answers(plain, xt)), abs(_answers(same, xt)), atol=5e-3)


@pytest.mark.parametrize("method", ["standardise", "coral", "linear_ot", "sa", "gfk", "centroids", "pseudo_label"])
def test_a_source_that_counts_nothing_is_as_if_not_there(method: str) -> None:
    xs, ys, xt = _two_sources()
    alone = align(method, xs[:40], ys[:40], xt, options=WEIGHTED[method])
    weights = np.where(np.arange(80) < 40, 1.0, 1e-12)
    both = align(method, xs, ys, xt, weights=weights, options=WEIGHTED[method])
    np.testing.assert_allclose(abs(both.zs[:40]), abs(alone.zs), atol=1e-4)
    if method != "pseudo_label":  # its penalty is one on features of total variance 1, that of all rows
        np.testing.assert_allclose(abs(_answers(both, xt)), abs(_answers(alone, xt)), rtol=0.02, atol=1e-3)


def test_halves_keep_their_weights() -> None:
    xs, ys, xt = _two_sources()
    weights = np.linspace(1, 3, 80)
    half = Domains(xs=xs, ys=ys, xt=xt, weights=weights).half(np.arange(0, 80, 2), np.arange(1, 80, 2))
    np.testing.assert_allclose(half.weights, weights[::2] / weights[::2].mean())


@pytest.mark.parametrize("weights", [np.ones(3), np.zeros(80), np.full(80, np.nan), -np.ones(80)])
def test_weights_that_do_not_fit(weights: np.ndarray) -> None:
    xs, ys, xt = _two_sources()
    with pytest.raises(DataError, match="weights expects"):
        Domains(xs=xs, ys=ys, xt=xt, weights=weights)


@pytest.mark.parametrize("name", ["standardise", "coral", "sa", "tca"])
def test_rows_are_mapped_by_blocks_as_all_at_once(name, domains, monkeypatch):
    whole = fitted(name, domains)
    monkeypatch.setattr(base, "_BLOCK", 25)
    blocks = fitted(name, domains)
    assert blocks.zt.shape == whole.zt.shape and blocks.zt.dtype == np.float32
    np.testing.assert_allclose(blocks.zs, whole.zs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(blocks.zt, whole.zt, rtol=1e-5, atol=1e-6)
