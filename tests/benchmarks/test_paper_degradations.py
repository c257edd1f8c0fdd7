"""Section 3.2 from the command line: what ``simulate --degrade`` makes of many crops' fractions."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_spss.cli import main
from napari_spss.core.annotations import read_annotations
from napari_spss.core.simulation.degrade import degrade_kmeans

DUBAI = (
    "background=(155;155;155),building=(60;16;152),land=(132;41;246),road=(110;193;228),"
    "vegetation=(254;221;58),water=(226;169;41)"
)
EM = "background,mitochondria"


def simulated(masks, classes, out, *options):
    """Regions and fractions (N, C) that ``simulate --protocol paper`` writes."""
    command = ["simulate", str(masks), "--protocol", "paper", "--classes", classes]
    assert main([*command, *options, "--out", str(out)]) == 0
    proportions = read_annotations(proportions=out / "proportions.csv").proportions
    return [one.region for one in proportions], np.array([one.fractions for one in proportions])


@pytest.fixture
def masks(tmp_path):
    """Two slices of 24 crops each, with fractions that all differ."""
    rng = np.random.default_rng(0)
    path = tmp_path / "masks.tif"
    threshold = rng.random((2, 4, 6)).repeat(256, axis=1).repeat(256, axis=2)
    truth = rng.random(threshold.shape) < threshold
    tifffile.imwrite(path, truth.astype(np.uint8), photometric="minisblack")
    return path


def check_clusters(exact, given, k):
    """Every crop has the fractions of a member of its cluster, and K are left as they were."""
    chosen, cluster = np.unique(given, axis=0, return_inverse=True)
    assert len(chosen) == k
    for index, fractions in enumerate(chosen):
        members = np.flatnonzero(cluster == index)
        is_own = (exact[members] == fractions).all(axis=1)
        assert is_own.any(), "the fractions of a cluster are those of none of its members"


def test_kmeans_gives_every_cluster_the_fractions_of_one_member(masks, tmp_path):
    regions, exact = simulated(masks, EM, tmp_path / "exact")
    same, given = simulated(masks, EM, tmp_path / "given", "--degrade", "kmeans:5")
    assert same == regions
    assert len(regions) == 48
    check_clusters(exact, given, 5)
    assert (given == exact).all(axis=1).sum() == 5


def test_kmeans_puts_crops_into_clusters_of_like_fractions(masks, tmp_path):
    _, exact = simulated(masks, EM, tmp_path / "exact")
    _, given = simulated(masks, EM, tmp_path / "given", "--degrade", "kmeans:5")
    # Of one free fraction clusters are intervals: sorted, each comes in one piece.
    changes = np.diff(given[np.argsort(exact[:, 1]), 1]) != 0
    assert changes.sum() == 4


def test_kmeans_chooses_any_member_of_a_cluster():
    exact = np.array([[0.1, 0.9], [0.12, 0.88], [0.14, 0.86], [0.9, 0.1], [0.92, 0.08]])
    drawn = [degrade_kmeans(exact, 2, np.random.default_rng(seed)) for seed in range(60)]
    assert {given[0, 0] for given in drawn} == {0.1, 0.12, 0.14}
    assert {given[3, 0] for given in drawn} == {0.9, 0.92}


def test_noise_divided_by_the_sum_leaves_exact_fractions_and_softmax_does_not(masks, tmp_path):
    _, exact = simulated(masks, EM, tmp_path / "exact")
    _, kept = simulated(masks, EM, tmp_path / "kept", "--degrade", "eq5-renorm:0")
    _, softmax = simulated(masks, EM, tmp_path / "softmax", "--degrade", "eq5:0")
    assert kept == pytest.approx(exact)
    powers = np.exp(exact)
    assert softmax == pytest.approx(powers / powers.sum(axis=1, keepdims=True))
    assert softmax.min() >= 1 / (1 + np.e)


@pytest.mark.parametrize(
    ("masks", "classes", "n_crops"),
    [("dubai/tile_1/masks", DUBAI, 54), ("vnc_sstem/mitochondria", EM, 320)],
)
def test_degradations_of_real_masks(shared_data, tmp_path, masks, classes, n_crops):
    _, exact = simulated(shared_data / masks, classes, tmp_path / "exact")
    assert len(exact) == n_crops
    for how in ("eq5:0.1", "eq5-renorm:0.1", "kmeans:5"):
        out = tmp_path / how.replace(":", "-")
        _, given = simulated(shared_data / masks, classes, out, "--degrade", how)
        assert given.sum(axis=1) == pytest.approx(1.0)
        assert given.min() >= 0
        if how == "kmeans:5":
            check_clusters(exact, given, 5)
        else:
            assert not np.allclose(given, exact)
