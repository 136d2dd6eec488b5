# SPDX-License-Identifier: Apache-2.0
"""A detection system and a dataset small enough for tests of the engine: one coloured rectangle per image."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from ldie.config import ModelConfig, Positive, RunConfig, SolverConfig
from ldie.contract import Recipe, System
from ldie.durations import Steps
from ldie.tasks.detection import TASK, DetectionModel, Prediction
from ldie.tasks.detection.visualization import draw_heatmap, grid
from PIL import Image
from torch import nn

SIZE = 16
COLORS = ((255, 40, 40), (40, 40, 255))


@dataclass(frozen=True)
class ToySolver(SolverConfig):
    batch_size: Positive = 4
    max_iter: Steps = 8
    log_step: Steps = 2
    lr: float = 0.01
    clip: float = 1.0


@dataclass(frozen=True)
class ToyNetworks(ModelConfig):
    num_classes: int = 80


@dataclass(frozen=True)
class ToyConfig(RunConfig):
    model: ToyNetworks = field(default_factory=ToyNetworks)
    solver: ToySolver = field(default_factory=ToySolver)


class Toy(DetectionModel):
    """One box per image; dropout, a count in a buffer."""

    def __init__(self, config, facts):
        super().__init__()
        self.config, self.facts = config, facts
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.1)
        )
        self.box = nn.Linear(144, 4)
        self.score = nn.Linear(144, config.model.num_classes)
        self.register_buffer("count", torch.tensor(0))

    @classmethod
    def from_config(cls, config, facts):
        model = replace(config.model, num_classes=len(facts["classes"]))
        return cls(replace(config, model=model), facts)

    def predict(self, inputs):
        images = torch.stack(list(inputs)).to(self.device)
        features = self.features(images.float() / 255)
        boxes = (self.box(features).sigmoid() * SIZE).cpu()
        scores, labels = self.score(features).softmax(1).cpu().max(1)
        return [
            Prediction(boxes[i : i + 1], scores[i : i + 1], labels[i : i + 1], None, None, (SIZE, SIZE))
            for i in range(len(images))
        ]

    def pictures(self, images):
        return {"warmth": grid([draw_heatmap(image, image[0] / 255) for image in images])}


class ToyRecipe(Recipe):
    """Two optimizers: with the model's dropout and count, all that a resume must restore."""

    best_metric = "bbox/AP"

    def __init__(self, model, config, runtime):
        super().__init__(model, config, runtime)
        lr = config.solver.lr
        self._optimizers = {
            "box": torch.optim.Adam([*model.features.parameters(), *model.box.parameters()], lr),
            "score": torch.optim.SGD(model.score.parameters(), lr, momentum=0.9),
        }

    @property
    def optimizers(self):
        return self._optimizers

    def transform(self, sample, rng):
        return augment(sample, rng)

    def collate(self, items):
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def train_step(self, batch, step):
        self.model.count += 1
        with self.runtime.autocast():
            features = self.model.features(batch["image"])
            box_loss = (self.model.box(features).sigmoid() * SIZE - batch["box"]).abs().mean()
            score_loss = nn.functional.cross_entropy(self.model.score(features.detach()), batch["label"])
        self.runtime.update(self._optimizers["box"], box_loss, self.config.solver.clip)
        terms = {"box_loss": box_loss.detach()}
        if step % 2 == 0:
            self.runtime.update(self._optimizers["score"], score_loss)
            terms["score_loss:0"] = score_loss.detach()
        return terms


SYSTEM = System("toy", TASK, Toy, ToyRecipe, {"tiny": ToyConfig()})


def augment(sample, rng):
    image, box = sample.image.float() / 255, sample.boxes[0]
    if rng.random() < 0.5:
        image, box = image.flip(2), torch.stack([SIZE - box[2], box[1], SIZE - box[0], box[3]])
    return {"image": image + 0.05 * float(rng.normal()), "box": box, "label": sample.labels[0]}


def write_dataset(root: Path, train: int = 10, val: int = 5) -> Path:
    """A folder in COCO layout with category ids 3 and 7."""
    (root / "annotations").mkdir(parents=True)
    for split, count, seed in (("train2017", train, 0), ("val2017", val, 1)):
        write_split(root, split, count, np.random.default_rng(seed))
    return root


def write_split(root: Path, split: str, count: int, rng: np.random.Generator) -> None:
    (root / split).mkdir()
    images, annotations = [], []
    for i in range(1, count + 1):
        label = int(rng.integers(2))
        (x1, y1), (w, h) = rng.integers(0, SIZE // 2, 2).tolist(), rng.integers(4, SIZE // 2, 2).tolist()
        pixels = rng.integers(0, 30, (SIZE, SIZE, 3)).astype(np.uint8)
        pixels[y1 : y1 + h, x1 : x1 + w] = COLORS[label]
        name = f"{i:03d}.png"
        Image.fromarray(pixels).save(root / split / name)
        images.append({"id": i * 11, "file_name": name, "width": SIZE, "height": SIZE})
        annotation = {"id": i, "image_id": i * 11, "category_id": (3, 7)[label], "bbox": [x1, y1, w, h]}
        annotations.append(
            {**annotation, "area": w * h, "iscrowd": 0, "segmentation": [[x1, y1, x1 + w, y1, x1 + w, y1 + h]]}
        )
    categories = [{"id": 3, "name": "red"}, {"id": 7, "name": "blue"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document))
