"""Runs: which images in which batches, weights to start from, what is logged, what may change on a resume."""

from __future__ import annotations

import json
import logging
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from ldie.config import override
from ldie.contract import Progress
from ldie.engine import checkpoint, learner
from ldie.engine.loader import training_batches
from ldie.engine.log import read_log
from ldie.engine.trainer import Trainer
from ldie.errors import CheckpointError, ConfigError, DataError
from ldie.systems.rcnn import SYSTEM
from ldie.systems.rcnn.config import RCNNConfig
from ldie.tasks.detection import TASK, CocoDataset, build_shapes
from PIL import Image
from safetensors.torch import save_file
from systems.rcnn.helpers import (
    CPU,
    HEAD_LOSSES,
    PARTS,
    PROPOSAL_LOSSES,
    SMALL,
    changed_parts,
    make_shapes,
    make_trainer,
    small_config,
    small_recipe,
    state_of,
)
from torch._functorch import config as functorch

SIDES = [(40, 60), (60, 40), (30, 70), (200, 20), (64, 64), (50, 66), (90, 30)]
"""Heights and widths; the fourth is ten times as high as wide."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(shapes, tmp_path_factory):
    """The folder of a run of four steps; nothing in it is to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_trainer(shapes, folder, solver={"max_iter": 4, "log_step": 2}).run()
    return folder


def write_coco(root: Path, images: list[dict], annotations: list[dict], categories: list[dict]) -> Path:
    """White images and what is said of them, to train and to evaluate on."""
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        (root / "annotations").mkdir(exist_ok=True)
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for image in images:
            Image.new("RGB", (image["width"], image["height"]), "white").save(root / split / image["file_name"])
    return root


def squares_in(image: dict, **more) -> dict:
    """An object that fills the image but for a pixel at each side."""
    width, height = image["width"] - 2, image["height"] - 2
    outline = [1, 1, 1 + width, 1, 1 + width, 1 + height, 1, 1 + height]
    points = {"keypoints": [2, 2, 2], "num_keypoints": 1}
    box = {"bbox": [1, 1, width, height], "area": width * height, "segmentation": [outline], "iscrowd": 0}
    return {"id": image["id"], "image_id": image["id"], "category_id": 1, **box, **points, **more}


def whole_images(root: Path, **more) -> Path:
    """One object in each of the images of :data:`SIDES`."""
    images = [{"id": i, "file_name": f"{i}.png", "height": h, "width": w} for i, (h, w) in enumerate(SIDES, start=1)]
    category = {"id": 1, "name": "square", "keypoints": ["corner"], "skeleton": []}
    return write_coco(root, images, [squares_in(image, **more) for image in images], [category])


def test_kr_6_batches_are_wide_or_tall_filled_up_and_no_image_is_dropped(tmp_path):
    data = CocoDataset(whole_images(tmp_path), "train2017")
    recipe = small_recipe(
        solver={"batch_size": 2, "data": {"longest": 300}},
        dataset={"aspect_grouping": True},
        model={"num_keypoints": 1},
    )
    seen = Counter()
    steps = 2 * len(data)
    for batch in islice(training_batches(data, recipe, recipe.config, 0, CPU), steps):
        height, width = batch.images.shape[2:]
        assert height % 16 == width % 16 == 0
        assert (batch.sizes.amax(0) > torch.tensor([height, width]) - 16).all(), "no more than a multiple needs"
        assert len({h > w for h, w in batch.sizes.tolist()}) == 1
        assert len(batch.boxes) == 2 and batch.offsets.tolist() == [0, 1, 2]
        for image, (h, w) in zip(batch.images, batch.sizes.tolist()):
            assert (image[:, :h, :w] > 0).all() and not image[:, h:].any() and not image[:, :, w:].any()
        seen.update(batch.ids.tolist())
    assert seen == Counter({image.id: 2 * steps // len(data) for image in data.images})


def test_kr_6_images_of_any_shape_train(tmp_path):
    data = whole_images(tmp_path / "data")
    sets = [CocoDataset(data, split) for split in ("train2017", "val2017")]
    metrics = make_trainer(
        tuple(sets), tmp_path / "run", solver={"max_iter": 7, "data": {"longest": 300}}, input={"longest": 300}
    ).run()
    assert 0 <= metrics["bbox/AP"] <= 1


def opened(config: RCNNConfig, root: Path) -> tuple[CocoDataset, CocoDataset]:
    """What a configuration trains and evaluates on."""
    return tuple(TASK.open(override(config, [f"dataset.root={root}"]), ["train2017", "val2017"]))


def test_kr_7_only_the_categories_asked_for_are_learned(tmp_path):
    root = build_shapes(tmp_path / "shapes", train=12, val=3, size=64)
    data, _ = opened(small_config(dataset={"categories": ["triangle", "circle"]}), root)
    everything, _ = opened(SMALL, root)
    assert len(data) == len(everything)
    only, val = opened(small_config(dataset={"categories": ["square"], "drop_empty": True}), root)
    assert 0 < len(only) < len(everything)
    trainer = make_trainer((only, val), tmp_path / "run", solver={"max_iter": 3})
    names = {"triangle": 0, "circle": 1}
    for index in range(len(data)):
        expected = [names[x] for x in labels(everything, index) if x in names]
        assert data[index].labels.tolist() == expected
    assert trainer.model.facts["classes"] == ["square"]
    assert trainer.model.roi_heads.box_predictor.cls_score.out_features == 2
    trainer.run()
    for batch in islice(training_batches(only, trainer.recipe, trainer.config, 0, CPU), len(only)):
        assert len(batch.labels) and not batch.labels.any()
    assert all(not prediction.labels.any() for prediction in trainer.model.predict([val[0].image]))


def labels(data: CocoDataset, index: int) -> list[str]:
    return [data.class_names[label] for label in data[index].labels]


def test_kr_25_only_so_many_images_are_trained_on(tmp_path):
    root = build_shapes(tmp_path / "shapes", train=9, val=3, size=64)
    train, val = opened(small_config(dataset={"limit": 4}), root)
    assert train.image_ids == [1, 2, 3, 4] and len(val) == 3
    recipe = small_recipe()
    batches = islice(training_batches(train, recipe, recipe.config, 0, CPU), 6)
    assert Counter(id for batch in batches for id in batch.ids.tolist()) == Counter({1: 3, 2: 3, 3: 3, 4: 3})


def start(shapes, folder, **solver):
    """A run that has not trained yet."""
    return make_trainer(shapes, folder, solver={**solver, "max_iter": 1}, seed=9)


def test_kr_20_a_run_starts_from_parts_of_another(shapes, finished, tmp_path):
    file = checkpoint.newest(finished)
    _, weights = checkpoint.load_weights(file)
    fresh = start(shapes, tmp_path / "fresh").model
    for parts in ((), ("backbone",), ("backbone", "proposal_generator"), ("roi_heads.mask_head",)):
        model = start(shapes, tmp_path / "-".join(parts or ["all"]), pretrained=str(file), pretrained_parts=parts).model
        for name, value in model.state_dict().items():
            taken = not parts or name.startswith(parts)
            assert torch.equal(value, weights[name] if taken else fresh.state_dict()[name]), name


def test_kr_20_a_file_with_a_part_of_the_weights_is_enough(shapes, finished, tmp_path):
    _, weights = checkpoint.load_weights(checkpoint.newest(finished))
    part = {name: value for name, value in weights.items() if name.startswith("backbone.")}
    save_file(part, tmp_path / "backbone.safetensors")
    before = state_of(start(shapes, tmp_path / "fresh").model)
    model = start(shapes, tmp_path / "run", pretrained=str(tmp_path / "backbone.safetensors")).model
    assert changed_parts(model, before) == {"backbone"}
    torch.testing.assert_close(state_of(model.backbone), {n.removeprefix("backbone."): v for n, v in part.items()})


def test_kr_20_heads_of_other_classes_start_afresh_and_the_list_says_so(finished, tmp_path, caplog):
    data = make_shapes(tmp_path, train=8)
    root = data[0].root
    fewer = tuple(CocoDataset(root, split, ["square", "circle"]) for split in ("train2017", "val2017"))
    with caplog.at_level(logging.INFO, "ldie"):
        trainer = start(fewer, tmp_path / "run", pretrained=str(checkpoint.newest(finished)))
    (line,) = (record.getMessage() for record in caplog.records if "start afresh" in record.getMessage())
    assert "roi_heads.box_predictor" in line and "roi_heads.mask_head.predictor" in line and "\n" not in line
    assert trainer.run() is not None


def test_kr_20_what_cannot_be_loaded_is_one_line(shapes, finished, tmp_path):
    file = str(checkpoint.newest(finished))
    with pytest.raises(ConfigError, match=r"solver\.pretrained_parts: no weight's name begins with 'head'"):
        start(shapes, tmp_path / "a", pretrained=file, pretrained_parts=["head"])
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        start(shapes, tmp_path / "b", pretrained=str(tmp_path / "none.pth"))
    assert not (tmp_path / "a" / "config.yaml").exists()


FIXED = {
    "solver.optimizer=sgd": "solver.optimizer",
    "solver.pretrained=w.pth": "solver.pretrained",
    "solver.pretrained_parts=backbone": "solver.pretrained_parts",
    "input.shorter_side=48": "input.shorter_side",
    "model.proposals.samples=8": "model.proposals.samples",
    "solver.batch_size=1": "solver.batch_size",
    "seed=3": "seed",
}


def resumed(shapes, folder: Path, *settings: str) -> Trainer:
    """The finished run, to go on with other settings."""
    config = override(small_config(solver={"max_iter": 4}), [*settings, f"output_dir={folder}"])
    return Trainer(SYSTEM, config, *shapes, CPU, resume=True)


@pytest.mark.parametrize("setting", FIXED)
def test_what_only_a_fresh_run_reads_or_weights_rely_on_cannot_change(shapes, finished, setting):
    with pytest.raises(ConfigError, match=f"{FIXED[setting]} cannot change where a run goes on"):
        resumed(shapes, finished, setting)


def test_what_takes_effect_from_then_on_may_change(shapes, tmp_path):
    make_trainer(shapes, tmp_path, solver={"max_iter": 2}).run()
    settings = ["lr=0.5", "loss.mask=0", "weight_decay=0.25", "gradient_clip=1", "data.mirror=0", "phases=[{lr: 0.1}]"]
    trainer = resumed(shapes, tmp_path, *(f"solver.{setting}" for setting in settings), "test.detections=5")
    (group,) = trainer.recipe.optimizers["rcnn"].param_groups
    assert (group["initial_lr"] if "initial_lr" in group else group["lr"], group["weight_decay"]) == (0.5, 0.25)
    trainer.run()
    assert group["lr"] == pytest.approx(0.1)


def test_kr_12_every_term_and_rate_is_logged_as_a_scalar(finished):
    records = [record for record in read_log(finished / "log.jsonl") if record["kind"] == "train"]
    assert [record["step"] for record in records] == [2, 4]
    for record in records:
        assert set(record) >= PROPOSAL_LOSSES | HEAD_LOSSES | {"total_loss", "lr/rcnn", "epoch", "seconds"}
        assert all(isinstance(value, (int, float)) for name, value in record.items() if name != "kind")


MEANS = {"rpn_cls_loss": 0.25, "rpn_loc_loss": 0.125, "cls_loss": 0.5, "loc_loss": 0.0625, "total_loss": 0.9375}
PUBLISHED = (
    "Epoch: %d /  Iter : %d /  Pro cls : %f \t/  Pro loc : %f \t/  Det cls : %f \t/  Det loc : %f \t/  Time : %f "
)


def line(means: dict[str, float], **solver) -> str:
    """After step 1200, 100 steps of two images, or of as many as the configuration says, since the line before."""
    recipe = small_recipe(solver=solver)
    samples = 100 * recipe.config.solver.batch_size * recipe.config.solver.accumulate
    progress = Progress(1200, 9000, 61.5, 700.0, {"rcnn": 5e-4}, epoch=2.75, samples=samples)
    return recipe.log_line(progress, means)


def test_the_log_line_is_the_published_one_and_goes_on():
    """Sums over the interval, as the published exercise prints them."""
    published = PUBLISHED % (2, 1200, 25, 12.5, 50, 6.25, 61.5)
    assert line(MEANS) == f"{published}/  LR : 0.0005"
    assert line(MEANS, batch_size=3, accumulate=2) == line(MEANS)
    more = {**MEANS, "mask_loss": 0.75, "keypoint_loss": 4.0}
    assert line(more) == f"{published}/  Mask : 75.000000 \t/  Keypoint : 400.000000 \t/  LR : 0.0005"


def test_the_log_line_of_a_phase_counts_what_it_does_not_have_as_nothing():
    found = line({"rpn_cls_loss": 0.25, "rpn_loc_loss": 0.125, "total_loss": 0.375})
    assert found.startswith(PUBLISHED % (2, 1200, 25, 12.5, 0, 0, 61.5))


BROKEN = {
    "no mask": ({"segmentation": None}, "have no segmentation to learn masks from .* or set model.mask_head.enabled"),
    "no keypoint": ({"keypoints": [0, 0, 0], "num_keypoints": 0}, "no object has a labelled keypoint"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_kr_17_data_without_what_a_head_needs_is_one_line_before_training(tmp_path, name):
    fields, message = BROKEN[name]
    data = whole_images(tmp_path / "data", **fields)
    sets = tuple(CocoDataset(data, split) for split in ("train2017", "val2017"))
    with pytest.raises(DataError, match=message) as error:
        make_trainer(sets, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
    head = {"no mask": "mask_head", "no keypoint": "keypoint_head"}[name]
    make_trainer(sets, tmp_path / "run", model={head: {"enabled": False}}, solver={"max_iter": 1}).run()


def test_kr_17_data_without_any_object_is_one_line_before_training(tmp_path):
    data = whole_images(tmp_path / "data", iscrowd=1)
    crowds, val = (CocoDataset(data, split) for split in ("train2017", "val2017"))
    for train, what in ((crowds, "7 images, only 7 crowds"), (crowds.subset([]), "0 images, none")):
        with pytest.raises(DataError, match=f"has no object to learn from in {what}"):
            make_trainer((train, val), tmp_path / "run")


@pytest.fixture
def compiler(monkeypatch):
    """Traces both ways and writes no code."""
    monkeypatch.setattr(learner, "BACKEND", "aot_eager")
    before = functorch.donated_buffer
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()
    functorch.donated_buffer = before  # monkeypatch would delete it


def test_compiled_networks_train_as_others(shapes, tmp_path, compiler):
    """On images of two sizes; for the second one networks are compiled once more, and then for any."""
    records = {}
    for name in ("plain", "compiled"):
        data = {"shorter_sides": [48, 64], "mirror": 0.0}
        solver = {"max_iter": 5, "batch_size": 1, "log_step": 1, "compile": name == "compiled", "data": data}
        trainer = make_trainer(shapes, tmp_path / name, solver=solver)
        trainer.run()
        records[name] = [record for record in read_log(tmp_path / name / "log.jsonl") if record["kind"] == "train"]
    names = {name.partition(".")[0] for name, module in trainer.model.named_modules() if module._compiled_call_impl}
    assert names == set(PARTS)
    for ours, expected in zip(records["compiled"], records["plain"], strict=True):
        for loss in PROPOSAL_LOSSES | HEAD_LOSSES:
            assert ours[loss] == pytest.approx(expected[loss], rel=1e-3, abs=1e-4)
