"""The paper's data sets in their original form, their crops, and the two splits."""

from __future__ import annotations

import numpy as np
import pytest
from crops import cut, n_crops, split_honest, split_random, thinned
from experiments import DUBAI_HELD_OUT, Data
from images import Picture, find_epfl, read_dubai, read_epfl, read_vnc
from tiny_paper import draw_dubai, draw_epfl

# (height, width, images) of the eight tiles as published
DUBAI_SIZES = {
    1: [(644, 797)] * 6 + [(643, 797)] * 3,
    2: [(544, 509)] * 6 + [(544, 510)] * 3,
    3: [(658, 682)] * 9,
    4: [(846, 1099)] * 9,
    5: [(1058, 1126)] * 9,
    6: [(838, 859)] * 9,
    7: [(2061, 1817)] * 9,
    8: [(1479, 2149)] * 9,
}


def picture(name, shape, group="one"):
    return Picture(name, group, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("name", ["Tile {}", "tile_{}"])
def test_dubai_is_read_with_black_as_ignored(tmp_path, name):
    draw_dubai(tmp_path, name=name, shape=(40, 60), n_images=2)
    pictures = list(read_dubai(tmp_path))
    assert [p.name for p in pictures[:2]] == ["tile 1 image_part_001", "tile 1 image_part_002"]
    assert [p.group for p in pictures] == ["tile 1"] * 2 + ["tile 2"] * 2 + ["tile 3"] * 2
    order = np.random.default_rng(0).permutation(6)
    for one in pictures:
        assert one.image.shape == (40, 60, 3)
        assert (one.truth[:5, :5] == 255).all()
        assert set(np.unique(one.truth)) == {*range(6), 255}
    np.testing.assert_array_equal(pictures[0].truth[20, 5:55:10], order[:5])


def test_a_folder_without_tiles_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match="Tile 1"):
        list(read_dubai(tmp_path))


def test_images_and_masks_must_pair(tmp_path):
    draw_dubai(tmp_path, shape=(40, 60), n_images=2)
    (tmp_path / "tile_2" / "masks" / "image_part_002.png").rename(
        tmp_path / "tile_2" / "masks" / "image_part_003.png"
    )
    with pytest.raises(ValueError, match="pair"):
        list(read_dubai(tmp_path))


def test_epfl_is_found_and_read(tmp_path):
    assert find_epfl(tmp_path) is None
    draw_epfl(tmp_path / "EM", n_slices=3, shape=(32, 64))
    folder = find_epfl(tmp_path)
    assert folder == tmp_path / "EM"
    pictures = list(read_epfl(folder))
    assert [p.group for p in pictures] == ["training"] * 3 + ["testing"] * 3
    assert pictures[4].name == "testing 001"
    assert {p.image.shape for p in pictures} == {(32, 64)}
    assert set(np.unique([p.truth for p in pictures])) == {0, 1}
    (folder / "testing.tif").rename(folder / "testing1.tif")
    assert len(list(read_epfl(folder))) == 6
    (folder / "testing_groundtruth.tif").unlink()
    with pytest.raises(FileNotFoundError, match="testing_groundtruth"):
        list(read_epfl(folder))


def test_the_last_slices_of_the_stand_in_are_a_group(tiny_data):
    pictures = list(read_vnc(tiny_data / "vnc_sstem"))
    assert [p.group for p in pictures] == ["slices 0-1"] * 2 + ["slices 2-5"] * 4
    assert set(np.unique([p.truth for p in pictures])) == {0, 1}


def test_the_published_numbers_of_crops():
    tiles = {
        tile: sum(n_crops(shape, 224) for shape in shapes) for tile, shapes in DUBAI_SIZES.items()
    }
    assert sum(tiles.values()) == 1647
    assert sum(tiles[tile] for tile in (1, 2, 3, 5, 6, 7)) == 1053
    assert 165 * n_crops((768, 1024), 256) == 1980


def test_crops_are_whole_and_do_not_overlap():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 6, (100, 70), dtype=np.uint8)
    image = rng.integers(0, 255, (100, 70, 3), dtype=np.uint8)
    small = picture("small", (31, 200))
    found = cut([Picture("a b", "tile 1", image, truth), small], 32)
    assert len(found) == n_crops((100, 70), 32) == 6
    assert [crop.name for crop in found] == [f"a b {y} {x}" for y in (0, 32, 64) for x in (0, 32)]
    np.testing.assert_array_equal(found[3].truth, truth[32:64, 32:64])
    np.testing.assert_array_equal(found[3].image, image[32:64, 32:64])
    assert {crop.group for crop in found} == {"tile 1"}


def test_a_random_fifth_is_the_test():
    crops = [picture(str(i), (8, 8)) for i in range(52)]
    split = split_random(crops, seed=3)
    assert len(split.test) == 10
    assert sorted(c.name for c in (*split.train, *split.test)) == sorted(c.name for c in crops)
    again = split_random(crops, seed=3)
    assert [c.name for c in again.test] == [c.name for c in split.test]
    assert [c.name for c in split_random(crops, seed=4).test] != [c.name for c in split.test]


def test_whole_groups_are_held_out_and_none_dominates():
    sizes = {"tile 1": 5, "tile 2": 30, "tile 3": 9, "tile 4": 4}
    crops = [picture(f"{g} {i}", (8, 8), g) for g, n in sizes.items() for i in range(n)]
    split = split_honest(crops, ("tile 1", "tile 3"), cap=6)
    assert split.groups == (("tile 2", "tile 4"), ("tile 1", "tile 3"))
    assert [sum(c.group == g for c in split.train) for g in ("tile 2", "tile 4")] == [6, 4]
    assert [sum(c.group == g for c in split.test) for g in ("tile 1", "tile 3")] == [5, 6]
    chosen = [int(c.name.split()[-1]) for c in split.train[:6]]
    assert chosen == [2, 7, 12, 17, 22, 27]


def test_a_split_leaves_no_part_empty():
    crops = [picture("a", (8, 8), "tile 1")]
    with pytest.raises(ValueError, match="empty"):
        split_honest(crops, ("tile 2",))


def test_few_crops_are_all_taken():
    crops = [picture(str(i), (8, 8)) for i in range(4)]
    assert thinned(crops, 4) == thinned(crops, None) == crops


def test_data_are_divided_as_asked(tiny_data, tiny_epfl):
    dubai = Data("dubai", tiny_data, "honest").split
    assert set(dubai.groups[1]) == set(DUBAI_HELD_OUT)
    assert (len(dubai.train), len(dubai.test)) == (4, 8)
    assert len(Data("dubai", tiny_data, "random").split.test) == 2
    vnc = Data("vnc", tiny_data, "honest").split
    assert (len(vnc.train), len(vnc.test)) == (2, 4)
    epfl = Data("epfl", tiny_epfl, "honest").split
    assert epfl.groups == (("training",), ("testing",))
    mixed = Data("epfl", tiny_epfl, "random").split
    assert mixed.groups == (("training",), ("training",))
    assert len(mixed.train) + len(mixed.test) == 4


def test_the_hash_follows_the_pixels(tiny_data):
    honest, again = (Data("vnc", tiny_data, "honest") for _ in range(2))
    assert honest.hash == again.hash
    assert honest.hash != Data("vnc", tiny_data, "random").hash


def test_missing_epfl_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"training\.tif"):
        _ = Data("epfl", tmp_path, "honest").split
