"""The generated data set is what its description says."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ldie.tasks.detection import CocoDataset, DataError, Prediction, Sample, build_shapes
from ldie.tasks.detection.masks import from_coco, to_bitmaps
from ldie.tasks.detection.metrics import coco_metrics
from ldie.tasks.detection.shapes import MIN_CONTRAST, MIN_VISIBLE
from PIL import Image

from ldie_ext import RLE, Polygons, keypoint_targets


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    return to_bitmaps(from_coco([segmentation], size), size)[0].numpy()


def annotations(root: Path) -> list[dict[str, Any]]:
    return json.loads((root / "annotations" / "instances_train2017.json").read_text())["annotations"]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = contents(build_shapes(tmp_path / "a", hard=True, seed=3, train=8, val=4))
    second = contents(build_shapes(tmp_path / "b", hard=True, seed=3, train=8, val=4))
    assert first == second
    assert len(first) == 8 + 4 + 3


def test_images_do_not_depend_on_their_number(tmp_path: Path) -> None:
    few, many = (contents(build_shapes(tmp_path / str(n), train=n, val=1)) for n in (2, 5))
    assert few["train2017/000002.png"] == many["train2017/000002.png"]


def test_seed_and_split_change_the_images(tmp_path: Path) -> None:
    root = contents(build_shapes(tmp_path / "a", train=1, val=1))
    other = contents(build_shapes(tmp_path / "b", train=1, val=1, seed=1))
    images = {root["train2017/000001.png"], root["val2017/000001.png"], other["train2017/000001.png"]}
    assert len(images) == 3


def test_built_once_and_rebuilt_for_other_parameters(tmp_path: Path) -> None:
    root = build_shapes(tmp_path / "shapes", train=2, val=1)
    image = root / "train2017" / "000001.png"
    written = image.stat().st_mtime_ns
    build_shapes(root, train=2, val=1)
    assert image.stat().st_mtime_ns == written
    build_shapes(root, train=3, val=1)
    assert len(list((root / "train2017").iterdir())) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


@pytest.mark.parametrize("found", [None, "[]", "{}", "{", "[" * 100_000])
def test_other_contents_are_not_overwritten(found: str | None, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if found is not None:
        (tmp_path / "shapes.json").write_text(found)
    with pytest.raises(DataError, match="is no generated shapes data set; remove it or choose another"):
        build_shapes(tmp_path, train=1, val=1)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} <= {"thesis.txt", "shapes.json"}


def test_what_a_killed_build_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("ldie.tasks.detection.shapes._put_in_place", stop)
        process = multiprocessing.get_context("fork").Process(
            target=build_shapes, args=(tmp_path / "shapes",), kwargs={"train": 1, "val": 1}
        )
        process.start()
        process.join(60)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(f".shapes-{process.pid}-")
    running = tmp_path / f".shapes-{os.getpid()}-abcdefgh"
    running.mkdir()
    build_shapes(tmp_path / "shapes", train=1, val=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [running.name, "shapes"]


def test_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ldie.tasks.detection.shapes._annotate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_shapes(tmp_path / "shapes", train=5, val=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"size": 32}, {"train": 0}, {"val": 0}, {"seed": -1}])
def test_parameters_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="need size >= 64"):
        build_shapes(tmp_path / "shapes", **wrong)


@pytest.mark.parametrize("variant", ["shapes", "hard_shapes"])
def test_masks_boxes_and_areas_agree(variant: str, request: pytest.FixtureRequest) -> None:
    for entry in annotations(request.getfixturevalue(variant)):
        mask = decode(entry["segmentation"], (128, 128))
        # Whole objects have their corners as polygons: pycocotools may round half a pixel along the outline away.
        perimeter = 2 * sum(entry["bbox"][2:])
        assert abs(int(mask.sum()) - entry["area"]) <= 0.12 * perimeter + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y, w, h = entry["bbox"]
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.abs(np.subtract(tight, [x, y, x + w, y + h])).max() <= 1


def test_masks_of_hidden_objects_and_crowds_are_exact(hard_shapes: Path) -> None:
    exact = 0
    for entry in annotations(hard_shapes):
        if entry["iscrowd"] or len(entry["segmentation"]) > 1:
            mask = decode(entry["segmentation"], (128, 128))
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            x, y = columns[0], rows[0]
            assert mask.sum() == entry["area"]
            assert entry["bbox"] == [x, y, columns[-1] + 1 - x, rows[-1] + 1 - y]
            exact += 1
    assert exact > 10


def test_default_variant(shapes: Path) -> None:
    dataset = CocoDataset(shapes, "train2017")
    samples = [dataset[i] for i in range(len(dataset))]
    assert dataset.class_names == ["circle", "square", "triangle"]
    assert all(sample.image.shape == (3, 128, 128) and len(sample) <= 4 for sample in samples)
    assert min(len(sample) for sample in samples) == 0  # images without objects
    assert {int(label) for sample in samples for label in sample.labels} == {0, 1, 2}
    assert not any(sample.iscrowd.any() for sample in samples)
    assert dataset.keypoint_names == ("top", "right", "bottom", "left")
    areas = [entry["area"] for entry in annotations(shapes)]
    assert min(areas) >= MIN_VISIBLE
    assert any(len(entry["segmentation"]) > 1 for entry in annotations(shapes))  # split by an object in front


def test_hard_variant(hard: CocoDataset) -> None:
    samples = [hard[i] for i in range(len(hard))]
    crowds = [a.segmentation for i in range(len(hard)) for a in hard.objects(i) if a.iscrowd]
    assert crowds and all(isinstance(mask["counts"], list) for mask in crowds)
    assert all(isinstance(sample.masks, RLE if sample.iscrowd.any() else Polygons) for sample in samples)
    boxes = torch.cat([sample.boxes for sample in samples])
    assert ((boxes[:, :2] == 0) | (boxes[:, 2:] == 128)).any()
    assert (boxes[:, 2:] - boxes[:, :2]).amax(dim=1).min() < 8
    assert any(has_common_centre(sample) for sample in samples)
    visibility = torch.cat([sample.keypoints[..., 2][sample.labels == 1] for sample in samples])
    assert set(visibility.flatten().tolist()) == {0, 1, 2}


def has_common_centre(sample: Sample) -> bool:
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    near = torch.cdist(centres, centres) <= 0.71  # boxes end at whole pixels
    same = near & (sample.labels[:, None] == sample.labels)
    return bool(same.triu(diagonal=1).any())


@pytest.mark.parametrize("variant", ["shapes", "hard_shapes"])
def test_keypoints_are_corners_inside_the_box(variant: str, request: pytest.FixtureRequest) -> None:
    """Also hidden ones: Mask R-CNN's heads only learn what is inside the box, and others were never found."""
    dataset = CocoDataset(request.getfixturevalue(variant), "train2017")
    assert dataset.keypoint_names == ("top", "right", "bottom", "left")
    hidden = 0
    for sample in (dataset[i] for i in range(len(dataset))):
        masks = to_bitmaps(sample.masks, sample.size)
        for label, points, box, mask in zip(sample.labels.tolist(), sample.keypoints, sample.boxes, masks, strict=True):
            top, right, bottom, left = points.tolist()
            if label == 0:
                assert not points.any()
            if label == 2:
                assert bottom == [0, 0, 0]
            if top[2]:
                assert all(top[1] <= other[1] + 1e-6 for other in (right, bottom, left) if other[2])
            for x, y, visibility in (top, right, bottom, left):
                hidden += visibility == 1
                if visibility:
                    assert box[0] <= x + 0.5 <= box[2] and box[1] <= y + 0.5 <= box[3]
                if visibility == 2:
                    column, row = int(x + 0.5), int(y + 0.5)
                    assert mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].any()
    assert hidden > 0


@pytest.mark.parametrize("hard", [False, True])
def test_a_perfect_keypoint_head_finds_all_keypoints(hard: bool, tmp_path: Path) -> None:
    """The middle of the right cell of 56 x 56 over each box is as near as such a head comes."""
    dataset = CocoDataset(build_shapes(tmp_path / "shapes", hard=hard, train=1, val=100), "val2017")
    found = {}
    for sample in (dataset[i] for i in range(len(dataset))):
        sample = sample.select(~sample.iscrowd)
        points = sample.keypoints + torch.tensor([0.5, 0.5, 0])  # pixel indices to continuous coordinates
        index, valid = keypoint_targets(points, sample.boxes, (56, 56))
        assert torch.equal(valid, points[..., 2] > 0)
        cells = torch.stack([index % 56, index // 56], dim=-1) + 0.5
        low, high = sample.boxes[:, None, :2], sample.boxes[:, None, 2:]
        places = torch.cat([low + cells * (high - low) / 56 - 0.5, torch.ones(*index.shape, 1)], dim=-1)
        scores = torch.full((len(sample),), 0.9)
        found[sample.image_id] = Prediction(sample.boxes, scores, sample.labels, None, places, sample.size)
    assert coco_metrics(dataset, found)["keypoints/AP"] >= 0.99


@pytest.mark.parametrize(
    ("hard", "digest"),
    [
        (False, "64b7bfebe87973802d4221a5e032b3e5503c86ce8fb94653df299679708f9db1"),
        (True, "fff7823bddceb1d6aad9732084a659d986a6af97fab8dec4a76bbc1278d19b57"),
    ],
)
def test_images_boxes_and_masks_are_those_of_the_first_format(hard: bool, digest: str, tmp_path: Path) -> None:
    """Keypoints were moved and came to the plain variant; published figures are of images, boxes and masks."""
    root = build_shapes(tmp_path / "shapes", hard=hard, seed=4, train=6, val=2)
    found = hashlib.sha256()
    for split in ("train2017", "val2017"):
        content = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        for entry in content["annotations"]:
            kept = {key: value for key, value in entry.items() if key not in ("keypoints", "num_keypoints")}
            found.update(json.dumps(kept, sort_keys=True).encode())
        for path in sorted((root / split).iterdir()):
            with Image.open(path) as image:
                found.update(np.asarray(image).tobytes())
    assert found.hexdigest() == digest


def test_folders_of_an_older_format_are_made_anew(tmp_path: Path) -> None:
    root = build_shapes(tmp_path / "shapes", train=1, val=1)
    written = contents(root)
    parameters = json.loads((root / "shapes.json").read_text())
    (root / "shapes.json").write_text(json.dumps(parameters | {"format": 1}))
    (root / "annotations" / "instances_train2017.json").unlink()
    assert contents(build_shapes(root, train=1, val=1)) == written


def test_objects_stand_out_from_background_with_noise(shapes: Path) -> None:
    dataset = CocoDataset(shapes, "train2017")
    for sample in (dataset[i] for i in range(20)):
        pixels = sample.image.float()
        masks = to_bitmaps(sample.masks, sample.size)
        background = pixels[:, ~torch.stack([*masks, torch.zeros(128, 128, dtype=torch.bool)]).any(0)]
        assert 6 < background.std(dim=1).max() < 12
        for mask in masks:
            inner = -torch.nn.functional.max_pool2d(-mask[None].float(), 5, 1, 2)[0] > 0
            if inner.any():
                distance = (pixels[:, inner].mean(dim=1) - background.median(dim=1).values).norm()
                assert distance > MIN_CONTRAST - 15


def test_pycocotools_reads_it(hard_shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(hard_shapes / "annotations" / "instances_train2017.json"))
    for entry in coco.loadAnns(coco.getAnnIds()):
        assert coco.annToMask(entry).any()
    assert "index created" in capsys.readouterr().out
