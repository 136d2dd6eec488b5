# SPDX-License-Identifier: Apache-2.0
"""COCO's evaluation of predictions by hotcoco, which takes both sides as columns, without a record for each object.

Images and categories get numbers from 1 on in place of their ids, which need not fit C numbers; in the order of the
ids, which decides between equal scores.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress, groupby, islice
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from hotcoco import COCO, COCOeval
from torch import Tensor

from ldie.tasks.detection.annotations import Annotation, AnnotationFile, ImageInfo
from ldie.tasks.detection.masks import to_rle
from ldie.tasks.detection.sample import Prediction
from ldie_ext import rle_area
from ldie_ext.coco import mask as coco_mask

Kind = Literal["bbox", "segm", "keypoints"]
Array: TypeAlias = npt.NDArray[Any]

_BODY_POINTS = 17
_OTHER_SIGMA = 0.05
"""For other points: an error of a tenth of the object's size (square root of its area) counts exp(-1/2) = 0.61."""
_NOWHERE = -1e9
_BATCH = 10_000  # objects whose keypoints are handed over at once


def evaluate(
    truth: AnnotationFile, predictions: Mapping[Any, Prediction], kind: Kind, category_ids: Sequence[int]
) -> COCOeval:
    """COCO's evaluation, done: ``stats`` has its 12 numbers (10 of keypoints), ``eval`` the curves.

    Args:
        truth: The objects that are to be found.
        predictions: By image id, possibly without objects. Images that ``truth`` does not list (a file of keypoints may
            leave out images without people) do not count, nor does what was found there.
        kind: What is compared.
        category_ids: The category of each label. Those that ``truth`` does not list do not count.

    Raises:
        ValueError: A prediction is of another size than the image, or lacks what is compared.
    """
    images, categories = _numbers(truth.images.keys() & predictions.keys()), _numbers(truth.categories)
    sought = _sought(truth, images, categories, kind)
    found = {
        number: _checked(predictions[id], truth.images[id], kind)
        for id, number in images.items()
        if len(predictions[id].boxes)
    }
    category_of = np.array([categories.get(id, 0) for id in category_ids], dtype=np.int64)
    evaluator = COCOeval(sought, _found(sought, found, kind, category_of), kind)
    if kind == "keypoints" and _points(truth) != _BODY_POINTS:
        evaluator.params.kpt_oks_sigmas = [_OTHER_SIGMA] * _points(truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that these sigmas are not COCO's
        evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summary_lines()  # computes stats; summarize() would print them
    return evaluator


def by_class(
    evaluation: COCOeval, truth: AnnotationFile, image_ids: Collection[Any], kind: Kind
) -> dict[int, dict[str, float]]:
    """What an evaluation says of single categories, from its curves.

    Args:
        evaluation: As :func:`evaluate` returned it.
        truth: The objects that were to be found.
        image_ids: Of the images that were evaluated.
        kind: What was compared.

    Returns:
        By id, for all categories that ``truth`` lists: ``AP`` and ``AP50``, -1 where nothing is to be found, and
        ``objects``, how many are: crowds do not count, nor do objects without keypoints where these are compared.
    """
    curves = evaluation.eval["precision"][:, :, :, 0, -1]  # type: ignore[index]  # all sizes, the most detections
    ap, ap50 = curves.mean(axis=(0, 1)), curves[0].mean(axis=0)  # without truth all are -1
    objects = Counter(
        item.category_id
        for item in truth.annotations.values()
        if item.image_id in image_ids and not item.iscrowd and (kind != "keypoints" or item.num_keypoints)
    )
    return {
        id: {"AP": float(ap[i]), "AP50": float(ap50[i]), "objects": objects[id]}
        for i, id in enumerate(sorted(truth.categories))
    }


def _numbers(ids: Iterable[int]) -> dict[int, int]:
    return {id: number for number, id in enumerate(sorted(ids), start=1)}


def _points(truth: AnnotationFile) -> int:
    return max((len(category.keypoints) for category in truth.categories.values()), default=0)


def _checked(prediction: Prediction, image: ImageInfo, kind: Kind) -> Prediction:
    """A prediction with objects, if it can be compared with the image's truth."""
    size = (image.height, image.width)
    if tuple(prediction.size) != size:
        raise ValueError(f"image {image.id} is of size {size}, but its prediction is for one of {prediction.size}")
    if (kind == "segm" and prediction.masks is None) or (kind == "keypoints" and prediction.keypoints is None):
        wanted = "masks" if kind == "segm" else kind
        raise ValueError(f"the objects found in image {image.id} have no {wanted}, but those of other images do")
    return prediction


def _sought(truth: AnnotationFile, images: Mapping[int, int], categories: Mapping[int, int], kind: Kind) -> COCO:
    """The objects of these images."""
    objects = [item for item in truth.annotations.values() if item.image_id in images]
    objects.sort(key=lambda item: images[item.image_id])  # masks are drawn image by image
    sought = COCO.from_arrays(
        [{"id": number, "file_name": "", "height": truth.images[id].height, "width": truth.images[id].width}
         for id, number in images.items()],
        [{"id": number, "name": str(id)} for id, number in categories.items()],
        np.array([images[item.image_id] for item in objects], dtype=np.int64),
        np.array([categories[item.category_id] for item in objects], dtype=np.int64),
        np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4),
        area=np.array([item.area for item in objects], dtype=np.float64),
        iscrowd=np.array([item.iscrowd for item in objects], dtype=bool),
        segmentation=_drawn(objects, truth) if kind == "segm" else None,
    )  # fmt: skip
    if kind == "keypoints":
        points = _points(truth)
        _add_keypoints(
            sought, ({"keypoints": _filled(item, points), "num_keypoints": item.num_keypoints} for item in objects)
        )
    return sought


def _drawn(objects: Iterable[Annotation], truth: AnnotationFile) -> list[Any]:
    """Run lengths of objects that come image by image."""
    masks: list[Any] = []
    for id, items in groupby(objects, key=lambda item: item.image_id):
        image = truth.images[id]
        masks += coco_mask.rasterize([item.segmentation for item in items], image.height, image.width)
    return masks


def _filled(item: Annotation, points: int) -> list[float]:
    """An object's keypoints; missing ones fill up as not labelled."""
    seen = list(item.keypoints or ())
    return seen + [0.0] * (3 * points - len(seen))


def _found(sought: COCO, found: Mapping[int, Prediction], kind: Kind, category_of: Array) -> COCO:
    """What was found, by number of the image; ``category_of`` has the numbers of categories by label, 0 for none."""
    if not found:
        return sought.load_res(np.empty((0, 7)))
    predictions = list(found.values())
    categories = category_of[_stack([p.labels for p in predictions])]
    counted = categories > 0
    keypoints = _stack([p.keypoints for p in predictions]).astype(np.float64) if kind == "keypoints" else None
    rows = np.empty((len(categories), 7))
    rows[:, 0] = np.repeat(list(found), [len(p.boxes) for p in predictions])
    rows[:, 1:5] = _stack([p.boxes for p in predictions]) if keypoints is None else _extents(keypoints)
    rows[~np.isfinite(rows[:, 1:5]).all(axis=1), 1:5] = 0.0
    rows[:, 3:5] -= rows[:, 1:3]
    rows[:, 5] = _stack([p.scores for p in predictions])
    rows[np.isnan(rows[:, 5]), 5] = -np.inf
    rows[:, 6] = categories
    rows = rows if counted.all() else rows[counted]
    if kind == "segm":
        masks, areas = _masks(predictions)
        result = sought.load_res(rows, segmentation=list(compress(masks, counted)))
        result.update_anns(ids=np.arange(1, len(rows) + 1), area=areas[counted])  # instead of the boxes'
        return result
    result = sought.load_res(rows)
    if keypoints is not None:
        _add_keypoints(result, ({"keypoints": row.ravel()} for row in keypoints[counted]))
    return result


def _stack(tensors: Sequence[Tensor | None]) -> Array:
    """The rows of all images; in NumPy, since torch would wake all its threads for so little."""
    return np.concatenate([tensor.cpu().numpy() for tensor in tensors if tensor is not None])


def _extents(keypoints: Array) -> Array:
    """Boxes [D, 4] around keypoints [D, J, 3], whose area decides the size class of what matches nothing."""
    keypoints[~np.isfinite(keypoints).all(axis=(1, 2))] = _NOWHERE
    points = keypoints[..., :2]
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def _masks(predictions: Sequence[Prediction]) -> tuple[list[Any], Array]:
    """COCO's run lengths of all objects, and their areas."""
    runs = [to_rle(p.masks, p.size) for p in predictions if p.masks is not None]
    areas = torch.cat([rle_area(rle) for rle in runs]).cpu().numpy()
    return [mask for rle in runs for mask in rle.to_coco()], areas


def _add_keypoints(objects: COCO, entries: Iterable[dict[str, Any]]) -> None:
    """Gives each object its keypoints, in the order of their ids, which count from 1."""
    numbered = ({"id": number, **entry} for number, entry in enumerate(entries, start=1))
    while batch := list(islice(numbered, _BATCH)):
        objects.update_anns(batch)
