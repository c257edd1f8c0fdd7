"""``predict``, ``measure`` and ``estimate`` of many images in one call: resumed, and one table."""

from __future__ import annotations

import contextlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss import predict_images
from napari_spss.core.analysis import clean_labels
from napari_spss.core.annotations import Annotations, lay_frames, lay_grid, write_grid
from napari_spss.core.base import CancelToken, FinishReason, ImageProgress, Message, Progress
from napari_spss.core.images import WRITERS, StackLayout, labels_in, left_out, open_labels
from napari_spss.core.prediction import one_by_one, predict_image
from napari_spss.core.projects import Project, ProjectState
from napari_spss.core.training import load_model

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def study(trained, tmp_path, monkeypatch):
    """Two images of one name in folders of their own, an OME-Zarr image, and the run."""
    monkeypatch.chdir(tmp_path)
    pixels = tifffile.imread(trained / "image.tif")
    for name, image in (("a", pixels[:2]), ("b", pixels[1:])):
        (tmp_path / "study" / name).mkdir(parents=True)
        tifffile.imwrite(f"study/{name}/img.tif", image, photometric="minisblack")
    layout = StackLayout((pixels[0].shape,), pixels.dtype, voxel_size_um=(None, 0.01, 0.01))
    with WRITERS.get("zarr").open(tmp_path / "study" / "b" / "c.zarr", layout) as file:
        file.write(0, pixels[0], 0)
    shutil.copytree(trained / "run", "run")
    return tmp_path


def table_of(path="out/images.csv"):
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def contents(folder):
    """Bytes of all tables of a result, and of the pixels of its images, by path."""
    paths = [one for one in Path(folder).rglob("[!.]*") if one.is_file()]
    return {
        one.relative_to(folder): tifffile.imread(one).tobytes()
        if one.suffix == ".tif"
        else one.read_bytes()
        for one in paths
    }


def times(folder="out"):
    return {one: one.stat().st_mtime_ns for one in Path(folder).rglob("*.tif")}


def test_a_class_that_takes_up_far_more_or_less_than_in_training_is_told(study):
    def told(stated):
        known = load_model("run").model_copy(update={"stated_fractions": (1 - stated, stated)})
        events = []
        predict_image("run", "study/a/img.tif", out_dir="one", model=known, show=events.append)
        texts = [one.text for one in events if isinstance(one, Message)]
        return [text for text in texts if "of what the model learned from" in text]

    assert not told(0.0)
    found = float(pd.read_csv("one/fractions_stack.csv")["fraction"][1])
    assert not told(found)
    for factor, shown in ((0.1, f"disc takes up {100 * found:.2f} % here, "), (8, "and about ")):
        odds = found / (1 - found) * factor
        (text,) = told(odds / (1 + odds))
        assert shown in text


def test_each_image_has_what_a_call_for_it_alone_gives_and_a_row(spss, study):
    done = spss("predict", "run", "study", "--each", "--groups", "folder", "--out", "out")
    assert done.code == 0, done.err
    table = table_of()
    assert list(zip(table["folder"], table["group"], table["class"], strict=True)) == [
        ("a_img", "a", "background"),
        ("a_img", "a", "disc"),
        ("c", "b", "background"),
        ("c", "b", "disc"),
        ("b_img", "b", "background"),
        ("b_img", "b", "disc"),
    ]
    assert set(table["problem"]) == {""}
    assert list(table["pixel_um"]) == ["", "", "0.01", "0.01", "", ""]
    assert "c.zarr: The model does not say at which size" in done.err
    unknown = "The size of a pixel is not known"
    assert done.err.count(unknown) == 2  # said of two images, the second time with their number
    assert f"a_img: {unknown}" in done.err
    assert f"The same of 1 more image as of a_img: {unknown}" in done.err
    for name, image in (("a_img", "a/img.tif"), ("b_img", "b/img.tif"), ("c", "b/c.zarr")):
        assert spss("predict", "run", f"study/{image}", "--out", f"one/{name}").code == 0
        assert contents(f"out/{name}") == contents(f"one/{name}")
        rows = pd.read_csv(f"one/{name}/fractions_stack.csv", dtype=str, keep_default_na=False)
        assert list(rows["fraction"]) == list(table.loc[table["folder"] == name, "fraction"])


def test_what_is_finished_and_unchanged_is_kept(spss, study):
    command = ("predict", "run", "study/*/img.tif", "--out", "out")
    assert spss(*command).code == 0
    before, table = times(), Path("out/images.csv").read_bytes()
    done = spss(*command)
    assert done.code == 0
    assert done.err.count("unchanged, kept") == 2
    assert times() == before
    assert Path("out/images.csv").read_bytes() == table
    image = tifffile.imread("study/a/img.tif")
    image[0, 0, 0] += 1  # which no sample of its pixels would tell
    tifffile.imwrite("study/a/img.tif", image, photometric="minisblack")
    Path("out/b_img/labels.ome.tif").unlink()
    assert spss(*command).code == 0
    changed = {one.name for one, time in times().items() if before[one] != time}
    assert changed == {"maps.ome.tif", "labels.ome.tif"}
    done = spss(*command, "--threshold", "0.4")
    assert done.code == 0
    assert "kept" not in done.err


def test_what_took_the_place_of_more_files_is_finished_too(spss, study):
    command = ("predict", "run", "study/*/img.tif", "--out", "out")
    assert spss(*command, "--uncertainty").code == 0
    assert "kept" not in spss(*command).err
    assert not list(Path("out").rglob("uncertainty*"))
    assert spss(*command).err.count("unchanged, kept") == 2


def test_the_threshold_of_a_half_is_the_one_without_a_word(spss, study):
    command = ("predict", "run", "study/*/img.tif", "--out", "out")
    assert spss(*command).code == 0
    assert spss(*command, "--threshold", "0.5").err.count("unchanged, kept") == 2


@pytest.mark.parametrize("more", [(), ("--threshold", "auto"), ("--format", "zarr")])
def test_labels_are_cleaned_slice_by_slice(spss, study, more):
    command = ("predict", "run", "study/*/img.tif", *more)
    cleaning = ("--fill-holes", "--min-piece", "30")
    assert spss(*command, "--out", "plain").code == 0
    assert spss(*command, *cleaning, "--out", "out").code == 0
    for name in ("a_img", "b_img"):
        plain, cleaned = (open_labels(labels_in(Path(out, name))) for out in ("plain", "out"))
        expected = [clean_labels(plain.read(z), fill_holes=True, min_piece_px=30) for z in range(2)]
        assert np.array_equal([cleaned.read(z) for z in range(2)], expected)
        assert not np.array_equal([plain.read(z) for z in range(2)], expected)
    assert spss(*command, *cleaning, "--out", "out").err.count("unchanged, kept") == 2
    assert "kept" not in spss(*command, "--fill-holes", "--out", "out").err


def test_labels_in_blocks_are_not_cleaned_in_part(spss, study):
    done = spss("predict", "run", "study/a/img.tif", "--workers", "1", "--fill-holes", "--out", "o")
    assert done.code == 2
    assert "leave out --fill-holes" in done.error


@pytest.mark.parametrize(
    ("images", "out"),
    [
        (["study/**/*.tif"], "study/out"),
        (["study/**/*.tif"], "study"),
        (["study/*", "--each"], "study/out"),
        (["study", "--each"], "study"),
    ],
)
def test_results_among_the_images_are_no_images(spss, study, images, out):
    shutil.rmtree("study/b/c.zarr")
    command = ("predict", "run", *images, "--out", out)
    assert spss(*command).code == 0
    table = Path(out, "images.csv").read_bytes()
    done = spss(*command)
    assert done.code == 0
    assert done.err.count("unchanged, kept") == 2
    assert Path(out, "images.csv").read_bytes() == table
    assert spss("predict", "run", *images, "--out", "elsewhere").code == 0
    assert list(table_of("elsewhere/images.csv")["folder"].unique()) == ["a_img", "b_img"]


@pytest.mark.parametrize("command", ["measure", "figure", "estimate", "evaluate"])
def test_a_folder_of_several_results_is_not_taken_for_an_image(spss, study, command):
    assert spss("predict", "run", "study/a/img.tif", "--out", "out/a").code == 0
    more = {"figure": ["--out", "f"], "estimate": ["--check", "check.csv"], "evaluate": ["t.tif"]}
    done = spss(command, "out", *more.get(command, ()))
    assert done.code == 2
    assert f"out holds results of several images; name one of them, such as {Path('out/a')}" in (
        done.error
    )


def test_what_is_left_out_of_a_folder_is_told(spss, study):
    Path("study/notes.csv").write_text("a,b\n")
    Path("study/a/.hidden.txt").write_text("")
    assert left_out(Path("study")) == (Path("study/notes.csv"),)
    assert left_out(Path("study/b/c.zarr")) == ()  # which is an image, not a folder of files
    assert spss("predict", "run", "study/a/img.tif", "--out", "study/a").code == 0
    assert left_out(Path("study")) == (Path("study/notes.csv"),)  # results are none of it


@pytest.mark.parametrize("folder", ["study", "study/a"])
def test_an_image_beside_its_result_is_one_of_many(spss, study, folder):
    shutil.rmtree("study/b/c.zarr")
    assert spss("predict", "run", "study/a/img.tif", "--out", "study/a").code == 0
    assert spss("predict", "run", folder, "--each", "--out", "out").code == 0
    images = [Path(one).relative_to(study).as_posix() for one in table_of()["image"].unique()]
    assert images == ["study/a/img.tif", "study/b/img.tif"][: 2 if folder == "study" else 1]


@pytest.mark.parametrize("images", [["study", "--each"], ["study/**/*.tif"]])
def test_what_is_painted_in_a_project_is_no_image_and_no_labels(spss, study, images):
    shutil.rmtree("study/b/c.zarr")
    project = Project.open(Path("study/a/img.tif.spss"), identity="i", source="study/a/img.tif")
    project.save(ProjectState())
    project.save_painted({0: np.ones((64, 64), np.uint8)})
    assert list(Path("study/a").rglob("slice_*.tif"))
    assert spss("predict", "run", *images, "--out", "out").code == 0
    assert list(table_of()["folder"].unique()) == ["a_img", "b_img"]
    shutil.copytree("out/a_img", "study/a/img.tif.spss/result")
    Path("study/a/img.tif").unlink()
    Path("study/b/img.tif").unlink()
    assert spss("measure", "study", "--each", "--out", "tables").code == 0
    assert list(table_of("tables/images.csv")["folder"].unique()) == ["result"]


def test_a_folder_of_masks_does_not_hide_the_images_beside_it(spss, study):
    Path("study/a/labels").mkdir()
    assert spss("predict", "run", "study", "--each", "--out", "out").code == 0
    assert "study/a/img.tif" in "".join(table_of()["image"])


def test_a_model_that_was_trained_on_is_applied_anew(spss, study, trained, tiny):
    command = ("predict", "run", "study/*/img.tif", "--out", "out")
    assert spss(*command).code == 0
    before = tifffile.imread("out/a_img/maps.ome.tif")
    more = ("--resume", "--set=optimisation.max_steps=9")
    assert spss("train", trained / "image.tif", *tiny, *more, "--out", "run").code == 0
    done = spss("predict", "run", "study/a/img.tif", "study/b/c.zarr", "--out", "out")
    assert done.code == 2
    assert "another state of the model" in done.error
    assert "study/b/img.tif" in done.error
    done = spss(*command)
    assert done.code == 0
    assert "kept" not in done.err
    assert not np.array_equal(tifffile.imread("out/a_img/maps.ome.tif"), before)
    assert spss(*command).err.count("unchanged, kept") == 2


def test_one_folder_of_results_is_no_group(spss, study):
    assert spss("predict", "run", "study", "--each", "--out", "out").code == 0
    done = spss("measure", "out", "--each", "--groups", "folder", "--out", "tables")
    assert done.code == 2
    assert "lie in" in done.err
    assert "name a table image,group instead" in done.err


def test_links_keep_the_names_and_groups_that_they_have(spss, study):
    for name in "ab":
        Path("links", f"animal_{name}").mkdir(parents=True)
        Path("links", f"animal_{name}", f"{name}1.tif").symlink_to(study / f"study/{name}/img.tif")
    Path("links/again.tif").symlink_to(study / "study/a/img.tif")
    command = ("predict", "run", "links/*/*.tif", "links/again.tif", "--out", "out")
    assert spss(*command, "--groups", "folder").code == 0
    table = table_of().drop_duplicates("image")
    assert list(table["folder"]) == ["a1", "b1"]
    assert list(table["group"]) == ["animal_a", "animal_b"]
    done = spss("predict", "run", "study/*/img.tif", "--out", "out")
    assert done.err.count("unchanged, kept") == 2
    assert len(table_of().drop_duplicates("image")) == 2


def test_links_to_folders_above_them_are_not_followed_round(spss, study):
    shutil.rmtree("study/b/c.zarr")
    Path("study/a/again").symlink_to(study / "study" / "a")
    command = ("predict", "run", "study", "--each", "--groups", "folder", "--out", "out")
    assert spss(*command).code == 0
    assert set(table_of()["group"]) == {"a", "b"}


def test_a_folder_that_cannot_be_read_is_told_with_a_way_round(spss, study, monkeypatch):
    def refuse(paths):
        raise PermissionError(13, "Permission denied", "study/lost+found")

    monkeypatch.setattr("napari_spss.core.images.listing.natural_order", refuse)
    done = spss("predict", "run", "study", "--each", "--out", "out")
    assert done.code == 2
    assert done.error.startswith("study/lost+found cannot be read")
    assert str(Path("study/**/*.tif")) in done.error
    assert spss("predict", "run", "study/**/*.tif", "--out", "out").code == 0


def test_lists_of_images_are_texts_as_editors_save_them(spss, study):
    Path("list.txt").write_text("study/a/img.tif\r\nstudy/b/img.tif\r\n", encoding="utf-16")
    assert spss("predict", "run", "list.txt", "--out", "out").code == 0
    assert len(table_of()["image"].unique()) == 2
    Path("list.txt").write_bytes("study/ü.tif".encode("latin-1"))
    done = spss("predict", "run", "list.txt", "--out", "out")
    assert (done.code, done.error) == (2, "list.txt is not UTF-8 text; save it as UTF-8.")


def test_names_that_look_like_formulas_stay_as_they_are(spss, study):
    Path("study/a").rename("study/-5C")
    Path("study/-5C/img.tif").rename("study/-5C/-80C.tif")
    Path("study/b/img.tif").rename("study/b/=1+1.tif")
    command = ("predict", "run", "study/*/*.tif", "--groups", "folder", "--out", "out")
    assert spss(*command).code == 0
    before = table_of()[["image", "group", "folder"]].drop_duplicates()
    assert list(before["folder"]) == ["'-80C", "'=1+1"]  # as a spreadsheet takes them for texts
    assert spss(*command).err.count("unchanged, kept") == 2
    assert spss("predict", "run", "study/b/c.zarr", "--each", "--out", "out").code == 0
    after = table_of()[["image", "group", "folder"]].drop_duplicates()
    pd.testing.assert_frame_equal(after[1:].reset_index(drop=True), before.reset_index(drop=True))
    assert {one.name for one in Path("out").glob("[!.]*/")} >= {"-80C", "=1+1", "c"}
    assert not list(Path("out").glob("'*"))


def test_no_image_takes_the_name_of_the_table(spss, study):
    shutil.copy("study/a/img.tif", "images.csv.tif")
    assert spss("predict", "run", "images.csv.tif", "study/b/img.tif", "--out", "out").code == 0
    assert set(table_of()["problem"]) == {""}


def test_a_pattern_in_a_folder_whose_name_looks_like_one(spss, study):
    Path("study").rename("study[1]")
    Path("study[1]/list.txt").write_text("*/img.tif\n")
    assert spss("predict", "run", "study[1]/list.txt", "--out", "out").code == 0
    assert len(table_of()["image"].unique()) == 2


def test_a_call_that_was_stopped_goes_on(study):
    token, told = CancelToken(), []

    def show(event):
        told.append(event)
        if isinstance(event, ImageProgress) and (event.place, event.state) == (1, "running"):
            token.cancel()

    images = ["study/a/img.tif", "study/b/img.tif"]
    table = predict_images("run", images, out_dir="out", device="cpu", show=show, token=token)
    problems = dict(zip(table["folder"], table["problem"], strict=True))
    assert problems == {"a_img": "", "b_img": "not done: the call was stopped before"}
    assert told[-1].reason is FinishReason.stopped
    assert [path.name for path in Path("out/b_img").glob("[!.]*")] == []
    told.clear()
    table = predict_images("run", images, out_dir="out", device="cpu", show=told.append)
    states = [one.state for one in told if isinstance(one, ImageProgress)]
    assert [state for state in states if state != "running"] == ["kept", "done"]
    assert set(table["problem"]) == {""}
    shares = [one.done for one in told if isinstance(one, Progress)]
    assert shares == sorted(shares)
    assert shares[-1] == 2


def test_calls_for_one_table_that_end_together_keep_the_rows_of_each_other(study, monkeypatch):
    rows_before, both = one_by_one._rows_before, Barrier(2)

    def together(results):
        rows = rows_before(results)
        with contextlib.suppress(BrokenBarrierError):  # the other one waits for this one to write
            both.wait(0.5)
        return rows

    def predict(image):
        predict_images("run", [image], out_dir="out", device="cpu")

    monkeypatch.setattr(one_by_one, "_rows_before", together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(predict, ("study/a/img.tif", "study/b/c.zarr")))
    assert set(table_of()["folder"]) == {"img", "c"}
    assert not list(Path("out").glob(".*.lock"))


def test_a_result_that_was_changed_by_hand_is_not_replaced_and_is_told(spss, study):
    command = ("predict", "run", "study/*/img.tif", "--out", "out")
    assert spss(*command).code == 0
    Path("out/a_img/fractions.csv").write_text("mine")
    done = spss(*command)
    assert done.code == 1
    assert "changed since it was written" in done.err
    assert Path("out/a_img/fractions.csv").read_text() == "mine"


def test_a_damaged_and_a_foreign_file_are_told_and_the_others_go_on(spss, study):
    Path("study/a/broken.tif").write_bytes(b"II*\0 is no image")
    Path("study/a/notes.docx").write_text("no image")
    Path("list.txt").write_text("study/a/*\nstudy/none.tif\n")
    done = spss("predict", "run", "list.txt", "--out", "out")
    assert done.code == 1
    assert "3 of 4 images failed" in done.err
    table = table_of()
    problems = {Path(row["image"]).name: row["problem"] for _, row in table.iterrows()}
    assert problems["img.tif"] == ""
    assert "broken.tif" in problems["broken.tif"]
    assert "kind (.docx) that cannot be read" in problems["notes.docx"]
    assert "does not exist" in problems["none.tif"]
    assert Path("out/img/labels.ome.tif").is_file()
    done = spss("predict", "run", "study/b/img.tif", "study/a/img.tif", "--out", "out")
    assert done.code == 0, "images of an earlier call failed, not of this one"
    assert set(table_of()["problem"]) > {""}


def test_an_image_that_comes_later_keeps_the_rows_and_folders_of_the_others(spss, study):
    assert spss("predict", "run", "study/a/*.tif", "--out", "out").code == 0
    before = times()
    assert spss("predict", "run", "study/*/*.tif", "--out", "out").code == 0
    assert sorted(set(table_of()["folder"])) == ["b_img", "img"]
    done = spss("predict", "run", "study/b/c.zarr", "study/b/img.tif", "--out", "out")
    assert done.code == 0
    assert sorted(set(table_of()["folder"])) == ["b_img", "c", "img"]
    assert {one: times()[one] for one in before} == before
    for option in (("--threshold", "0.3"), ("--no-smooth-z",), ("--fill-holes",)):
        done = spss("predict", "run", "study/b/*", "--out", "out", *option)
        assert done.code == 2
        assert "other options" in done.error
        assert "study/a/img.tif" in done.error


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["study/*.nd2"], "matches nothing"),
        (["study/a", "study/b", "--groups", "groups.csv"], "has no group"),
        (["study/a/img.tif", "--groups", "folder"], "--groups is for several images: add --each"),
        (["empty", "--each"], "holds no images"),
        (["study/*/img.tif", "--min-size", "3 apples"], "min_size '3 apples' is neither"),
        (["study/*/img.tif", "--split", "7"], "split 7.0 is not between 0 and 1"),
        (["study/*/img.tif", "--device", "tpu"], "'tpu'"),
        (["study/*/img.tif", "--workers", "0"], "0 workers compute nothing"),
    ],
)
def test_what_suits_no_image_is_told_before_anything_is_computed(spss, study, options, said):
    Path("empty").mkdir()
    Path("groups.csv").write_text("image,group\na,x\n")
    done = spss("predict", "run", *options, "--out", "out")
    assert done.code == 2
    assert said in done.error
    assert not Path("out").exists()


def test_groups_by_a_table_whose_names_tell_images_apart(spss, study):
    Path("g.csv").write_text("image,group\nimg.tif,x\n")
    command = ("predict", "run", "study/*/img.tif", "--out", "out", "--groups", "g.csv")
    done = spss(*command)
    assert done.code == 2
    assert "is the name of several images" in done.error
    Path("g.csv").write_text("image,group\na/img.tif,x\nb/img,y\n")
    assert spss(*command).code == 0
    assert list(table_of()["group"]) == ["x", "x", "y", "y"]


def test_groups_of_results_are_those_that_their_prediction_was_told(spss, study):
    Path("study/b/torn.tif").write_bytes(b"II*\0torn")
    assert spss("predict", "run", "study", "--each", "--groups", "folder", "--out", "out").code == 1
    command = ("estimate", "out", "--each", "--groups", "out/images.csv", "--out", "estimates")
    done = spss(*command)
    assert done.code == 0, done.err
    table = table_of("estimates/images.csv").drop_duplicates("folder")
    groups = dict(zip(table["folder"], table["group"], strict=True))
    assert groups == {"a_img": "a", "b_img": "b", "c": "b"}
    assert spss(*command[:4], "estimates/images.csv", *command[5:]).err.count("kept") == 3


@pytest.fixture
def labels(tmp_path, monkeypatch):
    """Two stacks of labels and one image, of pixels of different sizes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    made = {}
    for name, shape, um in (("p", (3, 40, 50), 0.01), ("q", (3, 60, 40), 0.02)):
        values = (rng.random(shape) < 0.2).astype(np.uint8)
        made[name] = values
        tifffile.imwrite(
            f"{name}.tif",
            values,
            imagej=True,
            resolution=(1 / um, 1 / um),
            metadata={"unit": "um", "spacing": 0.05, "axes": "ZYX"},
        )
    return made


def test_measurements_are_those_of_each_alone_and_are_kept(spss, labels):
    command = ("measure", "p.tif", "q.tif", "--out", "out")
    assert spss(*command).code == 0
    for name in labels:
        assert spss("measure", f"{name}.tif", "--out", f"{name}/fractions.csv").code == 0
        assert contents(f"out/{name}") == contents(name)
    table = table_of()
    objects = table[table["class"] == "class_1"]
    assert list(objects["pixel_um"].astype(float)) == pytest.approx([0.01, 0.02])
    assert [float(one) for one in objects["fraction"]] == pytest.approx(
        [values.mean() for values in labels.values()]
    )
    assert spss(*command).err.count("kept") == 2
    assert "kept" not in spss(*command, "--min-size", "5").err
    done = spss(*command, "--min-size", "5 cm")
    assert done.code == 2
    assert "min_size '5 cm' is neither a number" in done.error


def test_measuring_the_results_of_many_predictions(spss, study):
    assert spss("predict", "run", "study/*/img.tif", "--out", "out").code == 0
    done = spss("measure", "out", "--each", "--out", "tables")
    assert done.code == 0, done.err
    told, again = table_of(), table_of("tables/images.csv")
    assert list(again["folder"]) == list(told["folder"])
    assert list(again["fraction"]) == list(told["fraction"])


@pytest.mark.parametrize("out", [[], ["--out", "table.csv"]])
@pytest.mark.parametrize("command", ["measure", "estimate"])
def test_tables_of_several_labels_need_a_folder(spss, labels, command, out):
    done = spss(command, "p.tif", "q.tif", *out)
    assert done.code == 2
    assert "--out tables" in done.error


def write_check(path, values, seed):
    grids = []
    for z in range(len(values)):
        rng = np.random.default_rng(seed + z)
        grid = lay_grid(z, values.shape[1:], n_side=8, rng=rng)
        rows, columns = (np.floor(axis + 0.5).astype(int) for axis in (grid.y, grid.x))
        grids.append(grid.replace(class_index=values[z, rows, columns].astype(int), is_done=True))
    path.parent.mkdir(exist_ok=True)
    write_grid(path, Annotations(("background", "class_1"), grids=tuple(grids)))


def test_estimates_of_each_and_the_mean_of_groups(spss, labels):
    for name, values in labels.items():
        write_check(Path("checks") / f"{name}.csv", values, 3)
    Path("animals.csv").write_text("image,group\np,one\nq,two\n")
    command = ("estimate", "p.tif", "q.tif", "--check", "checks", "--out", "out")
    done = spss(*command, "--groups", "animals.csv")
    assert done.code == 0, done.err
    table = table_of()
    for name in labels:
        alone = spss(
            "estimate", f"{name}.tif", "--check", f"checks/{name}.csv", "--out", f"{name}.csv"
        )
        assert alone.code == 0
        rows = pd.read_csv(f"{name}.csv", dtype=str, keep_default_na=False)
        here = table[table["folder"] == name][list(rows.columns)]
        pd.testing.assert_frame_equal(here.reset_index(drop=True), rows)
    overall = pd.read_csv("out/overall.csv").set_index("method")
    means = [values.mean() for values in labels.values()]
    uncorrected = overall.loc["labels, uncorrected"]
    assert uncorrected["fraction"] == pytest.approx(np.mean(means))
    assert uncorrected["clusters"] == 2
    corrected = overall.loc["labels, corrected"]
    assert corrected["fraction"] == pytest.approx(np.mean(means))  # nodes agree everywhere
    assert corrected["low"] < corrected["fraction"] < corrected["high"]
    assert spss(*command).err.count("kept") == 2
    assert not Path("out/overall.csv").exists()  # it would be of other groups


def test_each_image_of_a_group_weighs_by_its_volume_however_it_was_counted(
    spss, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name, edge, value in (("small", 96, 1), ("large", 384, 0)):
        tifffile.imwrite(f"{name}.tif", np.eye(edge, dtype=np.uint8)[None].repeat(2, axis=0))
        judged = np.full((2, edge, edge), value)
        frames = lay_frames(judged.shape, 4, 48, 6, rng=np.random.default_rng(0))
        grids = tuple(
            one.replace(class_index=np.full(one.n_nodes, value), is_done=True) for one in frames
        )
        Path("checks").mkdir(exist_ok=True)
        write_grid(f"checks/{name}.csv", Annotations(("background", "class_1"), grids=grids))
    Path("animals.csv").write_text("image,group\nsmall,one\nlarge,one\n")
    command = ("estimate", "small.tif", "large.tif", "--check", "checks", "--out", "out")
    for _ in range(2):
        done = spss(*command, "--groups", "animals.csv", "--overwrite")
        assert done.code == 0, done.err
        overall = pd.read_csv("out/overall.csv").set_index("method")
        assert overall.loc["count", "fraction"] == pytest.approx(1 / 17)  # 96² and 384² pixels
        write_check(Path("checks/large.csv"), np.zeros((2, 384, 384), int), 3)  # grids, not frames


def test_check_counts_that_lie_beside_some_of_the_labels_correct_these(spss, labels):
    for name in labels:
        Path("results", name).mkdir(parents=True)
        Path(f"{name}.tif").rename(Path("results", name, "labels.ome.tif"))
    command = ("estimate", "results", "--each", "--check", "check.csv", "--out", "out")
    done = spss(*command)
    assert done.code == 2
    assert "no check.csv lies beside any of the labels" in done.error
    judged = labels["p"].copy()
    judged[0, :20] = 1 - judged[0, :20]
    write_check(Path("results/p/check.csv"), judged, 3)
    Path("animals.csv").write_text("image,group\np,one\nq,one\n")
    done = spss(*command, "--groups", "animals.csv")
    assert done.code == 0, done.err
    assert "p: nodes contradict the labels: look again" in done.err
    assert "q: no check.csv lies beside the labels" in done.err
    assert "overall.csv has no interval: all images are of group one" in done.err
    assert "corrects 1 image without a check count" in done.err
    table = table_of().set_index(["folder", "method"])
    assert table.loc[("p", "labels, corrected"), "fraction"]
    assert not table.loc[("q", "labels, corrected"), "fraction"]
    assert "there is no check count" in table.loc[("q", "labels, corrected"), "assumes"]
    unfinished = Path("results/q/check.csv")
    write_check(unfinished, labels["q"], 4)
    unfinished.write_text(unfinished.read_text().replace("done", "open"))
    done = spss(*command, "--groups", "animals.csv")
    assert "corrects 1 image without a check count" in done.err


def test_one_check_count_is_not_that_of_several(spss, labels):
    write_check(Path("checks/p.csv"), labels["p"], 3)
    command = ("estimate", "p.tif", "q.tif", "--out", "out", "--check")
    done = spss(*command, "checks/p.csv")
    assert done.code == 2
    assert "one table for many labels" in done.error
    done = spss(*command, "checks")
    assert done.code == 1
    assert "q.csv" in table_of().set_index("folder").loc["q", "problem"]


def test_the_edge_of_a_pixel_is_told_alike_of_images_and_of_their_labels(spss, study):
    values = np.zeros((64, 64), np.uint8)
    values[20:40, 20:40] = 1
    metadata = {"axes": "YX", "PhysicalSizeX": 0.02, "PhysicalSizeY": 0.005}
    for name in "ab":
        tifffile.imwrite(f"{name}.ome.tif", values, metadata=metadata)
    for command in (("predict", "run"), ("measure",)):
        done = spss(*command, "a.ome.tif", "b.ome.tif", "--out", command[0])
        assert done.code == 0, done.err
        assert set(table_of(f"{command[0]}/images.csv")["pixel_um"]) == {"0.01"}
