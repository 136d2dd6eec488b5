# SPDX-License-Identifier: Apache-2.0
"""Slips in the content of COCO annotation files; mutated_coco.py makes data sets of them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.random import Generator

SPLITS = ("train2017", "val2017")
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 0.5, 17.0, 1e8, 1e9, -1e9, 1e39, 1e300, math.nan, math.inf, -math.inf, 2**31, 2**32,
    2**63, -(2**63), 2**80, 10**100, 10**400, "", "x", "1", "1.5", "\ud800", "\0", "\u0430\u0301", "a\nb", "x" * 5000,
    [], {}, [[]], [None], [1, 2], [[1, 2]], [[[1, 2, 3, 4, 5, 6]]], {"size": [2, 2], "counts": [4]}, {"a": 1},
]  # fmt: skip
Entry = dict[str, Any]
Content = dict[str, Any]


class DataSet:
    """A data set that is about to be damaged: contents of its annotation files, then the files."""

    def __init__(self, root: Path, rng: Generator) -> None:
        self.root, self.rng = root, rng
        self.contents = {path.name: json.loads(path.read_text()) for path in (root / "annotations").iterdir()}
        chosen = SPLITS if rng.random() < 0.7 else (SPLITS[int(rng.integers(2))],)
        self.damaged = [name for name in sorted(self.contents) if any(split in name for split in chosen)]
        """The files that are damaged, all in the same way."""

    def pick(self, options: list[Any]) -> Any:
        return copy.deepcopy(options[int(self.rng.integers(len(options)))])

    def lists(self, section: str) -> list[list[Entry]]:
        lists = (self.contents[name].get(section) for name in self.damaged)
        return [entries for entries in lists if isinstance(entries, list)]

    def entries(self, section: str, share: float = 0.0) -> list[Entry]:
        """One entry of a section of each damaged file, or some share of them."""
        found = []
        for entries in self.lists(section):
            chosen = self.rng.random(len(entries)) < share
            if len(entries):
                chosen[int(self.rng.integers(len(entries)))] = True
            found += [entry for entry, taken in zip(entries, chosen) if taken and isinstance(entry, dict)]
        return found

    def write(self) -> None:
        for name, content in self.contents.items():
            (self.root / "annotations" / name).write_text(json.dumps(content))


def odd_value(data: DataSet) -> None:
    section, value = data.pick(["images", "categories", "annotations", "annotations"]), data.pick(ODD)
    keys = sorted({key for entry in data.entries(section) for key in entry}) or ["id"]
    key = data.pick([*keys, "area", "iscrowd", "keypoints", "num_keypoints", "bbox"] if section[0] == "a" else keys)
    for entry in data.entries(section, data.pick([0, 0.5, 1])):
        entry[key] = value


def odd_number(data: DataSet) -> None:
    """One number in a list of numbers, or all of them."""
    key, value, whole = data.pick(["bbox", "segmentation", "keypoints"]), data.pick(ODD), data.rng.random() < 0.2
    for entry in data.entries("annotations", 0.5):
        numbers = entry.get(key)
        while isinstance(numbers, list) and numbers and isinstance(numbers[0], list):
            numbers = numbers[0]
        if isinstance(numbers, list) and numbers:
            if whole:
                numbers[:] = [value] * len(numbers)
            numbers[int(data.rng.integers(len(numbers)))] = value


def scaled(data: DataSet) -> None:
    """Coordinates in other units, inverted, or far away."""
    factor = data.pick([-1, 0, 1e-9, 1e-2, 1.5, 4, 12, 1e3, 1e6, 1e12, 1e38, 1e300])
    key = data.pick(["bbox", "segmentation", "keypoints", "area"])
    for entry in data.entries("annotations", data.pick([0, 1])):
        entry[key] = _times(entry.get(key), factor)


def corners_for_sizes(data: DataSet) -> None:
    for entry in data.entries("annotations", 1):
        box = entry.get("bbox")
        if isinstance(box, list) and len(box) == 4 and all(isinstance(number, (int, float)) for number in box):
            entry["bbox"] = [box[0], box[1], box[0] + box[2], box[1] + box[3]] if data.rng.random() < 0.5 else box[::-1]


def missing_key(data: DataSet) -> None:
    section = data.pick(["images", "categories", "annotations"])
    keys = sorted({key for entry in data.entries(section, 1) for key in entry}) or ["id"]
    key = data.pick(keys)
    for entry in data.entries(section, data.pick([0, 1])):
        entry.pop(key, None)


def missing_section(data: DataSet) -> None:
    section, value = data.pick(["images", "categories", "annotations"]), data.pick([None, [], {}, "x", [3], [[]]])
    for name in data.damaged:
        data.contents[name].pop(section, None)
        if data.rng.random() < 0.7:
            data.contents[name][section] = value


def repeated_entry(data: DataSet) -> None:
    for entries in data.lists(data.pick(["images", "categories", "annotations"])):
        copies = json.loads(json.dumps(entries))
        fresh = data.rng.random() < 0.5
        for number, entry in enumerate(copies):
            if fresh and isinstance(entry, dict):
                entry["id"] = 10**9 + number
        entries.extend(copies)


def lost_entries(data: DataSet) -> None:
    """References that lead nowhere, or images without objects."""
    for entries in data.lists(data.pick(["images", "categories", "annotations"])):
        entries[:] = [entry for entry in entries if data.rng.random() < 0.5]


def other_ids(data: DataSet) -> None:
    """Ids that agree, of odd kinds."""
    section, key = data.pick([("images", "image_id"), ("categories", "category_id"), ("annotations", None)])
    first = data.pick([0, -5, -(2**63), 2**31 - 1, 2**53, 2**63, 2**80, 10**63, 10**64, 0.5, "a"])
    for content in data.contents.values():
        new = {}
        for number, entry in enumerate(content.get(section) or ()):
            if isinstance(entry, dict) and isinstance(entry.get("id"), int):
                new[entry["id"]] = f"{first}{number}" if isinstance(first, str) else first + entry["id"] % 1000
                entry["id"] = new[entry["id"]]
        for entry in (content.get("annotations") or ()) if key else ():
            if isinstance(entry, dict) and isinstance(entry.get(key), int):
                entry[key] = new.get(entry[key], entry[key])


def damaged_polygons(data: DataSet) -> None:
    forms: list[Callable[[list[Any]], Any]] = [
        lambda parts: [part[:-1] for part in parts],
        lambda parts: [part[:4] for part in parts],
        lambda parts: [part[:2] for part in parts],
        lambda parts: [[1, 1, 9, 9], *parts, []],
        lambda parts: [],
        lambda parts: [[]],
        lambda parts: parts[0],
        lambda parts: [parts],
        lambda parts: [[5, 5] * 50],
        lambda parts: [data.rng.uniform(-50, 700, 2000).tolist()],
        lambda parts: [part * 20 for part in parts],
        lambda parts: [[str(number) for number in part] for part in parts],
        lambda parts: [[[x, y] for x, y in zip(part[::2], part[1::2])] for part in parts],
        lambda parts: [{"x": part[0]} for part in parts],
    ]
    form = data.pick(forms)
    for entry in data.entries("annotations", data.pick([0, 0.5, 1])):
        parts = entry.get("segmentation")
        if isinstance(parts, list) and parts and all(isinstance(part, list) and part for part in parts):
            entry["segmentation"] = form(parts)


def damaged_run_lengths(data: DataSet) -> None:
    forms: list[Callable[[int, int], Any]] = [
        lambda h, w: {"size": [h, w], "counts": [0, h * w]},
        lambda h, w: {"size": [h, w], "counts": [h * w]},
        lambda h, w: {"size": [h, w], "counts": [h, w]},
        lambda h, w: {"size": [w, h], "counts": [h * w]},
        lambda h, w: {"size": [h, w], "counts": [-1, h * w + 1]},
        lambda h, w: {"size": [h, w], "counts": [float(h * w)]},
        lambda h, w: {"size": [h, w], "counts": [2**32 + h * w]},
        lambda h, w: {"size": [h, w], "counts": ["x"]},
        lambda h, w: {"size": [h, w], "counts": "PPPPPPPPPPPPPPPPPPPPPPPP"},
        lambda h, w: {"size": [h, w], "counts": "0" * 99999},
        lambda h, w: {"size": [h, w], "counts": "\ud800é"},
        lambda h, w: {"size": [h, w], "counts": ""},
        lambda h, w: {"size": [h, w], "counts": []},
        lambda h, w: {"size": [h, w], "counts": None},
        lambda h, w: {"size": [float(h), w], "counts": [h * w]},
        lambda h, w: {"size": [True, h * w], "counts": [h * w]},
        lambda h, w: {"size": [2**40, 2**40], "counts": [2**80]},
        lambda h, w: {"size": [h], "counts": [h]},
        lambda h, w: {"size": f"{h} {w}", "counts": [h * w]},
        lambda h, w: {"size": [0, 0], "counts": []},
        lambda h, w: {"counts": [h * w]},
        lambda h, w: {"size": [h, w]},
        lambda h, w: {"size": [h, w], "counts": [1] * (h * w)},
    ]
    form = data.pick(forms)
    for name in data.damaged:
        images = data.contents[name].get("images")
        sizes = {image.get("id"): image for image in images or () if isinstance(image, dict) and _hashable(image)}
        for entry in data.entries("annotations", data.pick([0, 1])):
            image = sizes.get(entry["image_id"]) if type(entry.get("image_id")) is int else None
            if image and type(image.get("height")) is int and 0 < image["height"] * image["width"] < 10**6:
                entry["segmentation"] = form(image["height"], image["width"])
                entry["iscrowd"] = int(data.rng.integers(2))


def damaged_keypoints(data: DataSet) -> None:
    names = data.pick([["nose", "tail"], ["nose"] * 17, [], None, "nose", [1], ["left_eye", "right_eye"]])
    skeleton = data.pick([[], None, [[1, 2]], [[0, 1]], [[1, 99]], [[1]], [[1, 1]], "1-2", [[True, 2]]])
    points = data.pick([[], None, [5, 5, 2] * 2, [5, 5, 2], [5, 5, 7] * 17, [0] * 6, [5, 5, -1] * 2, [1e5, 5, 2] * 2])
    if data.rng.random() < 0.6:
        for name in data.contents:
            for entry in data.contents[name].get("categories") or ():
                if isinstance(entry, dict):
                    entry |= {"keypoints": names, "skeleton": skeleton}
    for entry in data.entries("annotations", data.pick([0, 0.5, 1])):
        entry["keypoints"] = points
        if data.rng.random() < 0.3:
            entry["num_keypoints"] = data.pick(ODD)


def other_size(data: DataSet) -> None:
    """The file says a size that the image has not."""
    value = data.pick([1, 2, 9, 65536, 10**6, 10**7, 10**9, 2**31, 2**62])
    keys = data.pick([["height"], ["width"], ["height", "width"]])
    swap = data.rng.random() < 0.3
    for entry in data.entries("images", data.pick([0, 1])):
        if swap:
            entry["height"], entry["width"] = entry.get("width"), entry.get("height")
        else:
            entry |= dict.fromkeys(keys, value)


def other_file_name(data: DataSet) -> None:
    forms: list[Callable[[str], Any]] = [
        lambda name: name.upper(), lambda name: f".\\{name}", lambda name: f"fold\\{name}", lambda name: f"../{name}",
        lambda name: f"/{name}", lambda name: f"train2017/{name}", lambda name: f"./{name}", lambda name: f"{name}\n",
        lambda name: name.split(".")[0], lambda name: ".", lambda name: "", lambda name: f"http://host/{name}",
        lambda name: "e\u0301.png", lambda name: name + "/", lambda name: "C:\\" + name,
    ]  # fmt: skip
    form = data.pick(forms)
    for entry in data.entries("images", data.pick([0, 1])):
        entry["file_name"] = form(str(entry.get("file_name")))


def crowded(data: DataSet) -> None:
    """Hundreds of objects on each other."""
    for entries in data.lists("annotations"):
        entries.extend([{**entry, "id": 10**7 + number} for number, entry in enumerate(entries[:1] * 300)])


def empty_or_beside(data: DataSet) -> None:
    """Boxes without an extent, and objects that lie partly or wholly outside the image, some farther than allowed."""
    if data.rng.random() < 0.4:
        for entry in data.entries("annotations", 1):
            entry["bbox"] = [1, 1, *data.pick([[0, 0], [0, 5], [5, 0], [1e-30, 1e-30], [-0.0, 5]])]
        return
    key, shift = data.pick(["bbox", "segmentation", "keypoints"]), data.pick([-3000, -100, 100, 500, 3000, 5000])
    for entry in data.entries("annotations", 1):
        if key == "bbox" and isinstance(entry.get(key), list):
            entry[key] = [*_plus(entry[key][:2], shift), *entry[key][2:]]
        else:
            entry[key] = _plus(entry.get(key), shift)


def odd_names(data: DataSet) -> None:
    names = [
        "\u733f",
        "\u05d7\u05ea\u05d5\u05dc",
        "\U0001f408",
        "a\nb",
        "\x1b[31mred",
        " ",
        "same",
        "x" * 3000,
        "%s",
        "a/b",
        "\0",
    ]
    name = data.pick(names)
    for content in data.contents.values():
        for entry in content.get("categories") or ():
            if isinstance(entry, dict):
                entry["name"] = name


MUTATIONS = [
    odd_value, odd_value, odd_value, odd_number, odd_number, scaled, scaled, corners_for_sizes, missing_key,
    missing_section, repeated_entry, lost_entries, other_ids, damaged_polygons, damaged_polygons, damaged_run_lengths,
    damaged_run_lengths, damaged_keypoints, damaged_keypoints, other_size, other_file_name, crowded, empty_or_beside,
    empty_or_beside, odd_names,
]  # fmt: skip


def _times(value: Any, factor: float) -> Any:
    if isinstance(value, list):
        return [_times(item, factor) for item in value]
    return value * factor if type(value) in (int, float) and abs(value) < 1e300 else value


def _hashable(image: Entry) -> bool:
    return type(image.get("id")) is int and type(image.get("width")) is int


def _plus(value: Any, shift: float) -> Any:
    if isinstance(value, list):
        return [_plus(item, shift) for item in value]
    return value + shift if type(value) in (int, float) and abs(value) < 1e300 else value
