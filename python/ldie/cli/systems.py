# SPDX-License-Identifier: Apache-2.0
"""The parsers of the commands that train, evaluate, run and carry models."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldie.cli.arguments import SEEDS, add_batch_size, add_checkpoint, add_data, add_device, command, score, size, whole
from ldie.export import FORMATS
from ldie.systems import SYSTEMS
from ldie.tasks import TASKS

_TRAIN_EXAMPLES = """examples:
  ldie train centernet                          on generated shapes, into runs/centernet
  ldie train centernet --data ~/coco --work-dir runs/coco --set solver.max_iter=90000 solver.batch_size=32
  ldie train rcnn --data ~/pets --work-dir runs/pets --set solver.max_iter="30 epochs" model.keypoint_head.enabled=false
  ldie train centernet --resume                 go on after Ctrl-C, a crash or a power cut
  ldie train centernet --print-config           every configuration key with its value
  torchrun --nproc-per-node 8 -m ldie train centernet --data ~/coco --work-dir runs/coco
"""


def add_system_commands(commands: argparse._SubParsersAction) -> None:
    """Adds ``train``, ``eval``, ``predict``, ``show``, ``convert``, ``import``, ``benchmark`` and ``export``."""
    _add_train(commands)
    _add_eval(commands)
    _add_predict(commands)
    _add_show(commands)
    _add_convert(commands)
    _add_import(commands)
    _add_benchmark(commands)
    _add_export(commands)


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "train", "train a system, evaluate it, and write checkpoints, metrics and pictures")
    parser.epilog = _TRAIN_EXAMPLES
    parser.add_argument("system", metavar="SYSTEM", help=" | ".join(SYSTEMS))
    parser.add_argument("--preset", metavar="NAME", help="named configuration (default: the system's own)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML on top of the preset, which it may name (preset: full)"
    )
    add_data(parser, "to train and evaluate on (default: the configuration's, shapes)")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="where everything goes (default: runs/SYSTEM)")
    parser.add_argument("--seed", type=whole(0, SEEDS), help="of weights, order, augmentation and generated data")
    existing = parser.add_mutually_exclusive_group()
    text = "go on from the newest checkpoint in the work folder, with its configuration (--preset, --config not used)"
    existing.add_argument("--resume", action="store_true", help=text)
    existing.add_argument("--overwrite", action="store_true", help="replace the run that the work folder holds")
    text = "override configuration keys of any case: solver.max_iter=200 MODEL.DISCRIMINATOR.MASKING=false"
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    text = "print where a step's time goes, operator by operator, over N steps after the first 5 (default: %(const)s)"
    parser.add_argument("--profile", nargs="?", type=whole(1), default=0, const=10, metavar="N", help=text)
    add_device(parser)


def _add_eval(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "eval", "evaluate a checkpoint with COCO metrics")
    parser.epilog = "example:\n  ldie eval runs/centernet --data ~/coco --out runs/centernet/coco"
    add_checkpoint(parser)
    add_data(parser, "to evaluate on (default: that of the training run)")
    text = "which part of the data (default: that of the training run, dataset.val)"
    parser.add_argument("--split", metavar="NAME", help=text)
    text = "also AP, AP50 and number of objects of each class, in metrics.json too"
    parser.add_argument("--per-class", action="store_true", help=text)
    text = "for metrics.json, detections.json and pictures/ (default: eval/ in the run's work folder)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    add_batch_size(parser)
    add_device(parser)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "predict", "run a checkpoint on image files; write annotated images and COCO json")
    parser.epilog = "example:\n  ldie predict runs/centernet photo.jpg holidays/ --out found"
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files (PNG, JPEG, ...) or folders")
    text = "for one PNG per image and predictions.json (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help=text)
    add_batch_size(parser)
    text = "draw detections from this score on; the json has all (default: %(default)s)"
    parser.add_argument("--min-score", type=score, default=0.3, metavar="S", help=text)
    add_device(parser)


def _add_show(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "show", "draw a dataset: boxes, masks, keypoints and crowds")
    parser.epilog = "example:\n  ldie show --data ~/coco --split val2017 --count 30 --out pictures"
    add_data(parser, "to draw", required=True)
    text = f"kind of data: {' | '.join(TASKS)} (default: %(default)s)"
    parser.add_argument("--task", default="detection", metavar="TASK", help=text)
    text = "for the pictures (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("pictures"), metavar="DIR", help=text)
    parser.add_argument("--split", help="which part of the data (default: the one to train on)")
    text = "how many images, from the first on (default: %(default)s)"
    parser.add_argument("--count", type=whole(1), default=16, help=text)
    parser.add_argument("--seed", type=whole(0, SEEDS), default=0, help="of generated shapes (default: %(default)s)")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "convert", "write a YOLO or Pascal VOC data set in COCO's layout, which --data takes")
    parser.epilog = "example:\n  ldie convert coco8/ --out coco8-coco"
    text = "folder with data.yaml, obj.names or Annotations/, or YOLO's YAML file"
    parser.add_argument("source", type=Path, metavar="SRC", help=text)
    text = "a new folder; images are linked where possible, else copied"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=text)


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "import", "make a checkpoint of published weights; nothing in their file is run")
    parser.epilog = "example:\n  ldie import centernet ctdet_coco_resdcn18.pth --out resdcn18.safetensors"
    parser.add_argument("system", metavar="SYSTEM", help=" | ".join(SYSTEMS))
    text = "weights: safetensors, what torch.save wrote, or a pickle of arrays"
    parser.add_argument("file", type=Path, metavar="FILE", help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the checkpoint, a .safetensors file")
    text = "the networks that the weights are for (default: the first that the system has published weights for)"
    parser.add_argument("--preset", metavar="NAME", help=text)


def _add_export(commands: argparse._SubParsersAction) -> None:
    text = "write a checkpoint's model as one graph for other programs, and compare the two"
    parser = command(commands, "export", text)
    parser.epilog = "example:\n  ldie export runs/centernet --format onnx --out centernet.onnx --size 480x640"
    add_checkpoint(parser)
    text = "torch.export (for programs with torch and ldie_ext) or onnx"
    parser.add_argument("--format", choices=FORMATS, metavar="FORMAT", required=True, help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the file, usually .pt2 or .onnx")
    text = "height and width of the images that the graph takes (default: the model's own choice)"
    parser.add_argument("--size", type=size, metavar="HxW", help=text)
    text = "images that the graph takes together (default: %(default)s)"
    parser.add_argument("--batch-size", type=whole(1), default=1, metavar="N", help=text)
    add_data(parser, "to compare on beside noise (default: noise alone)")


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "benchmark", "measure inference: latency and its stages, images/s, peak memory")
    parser.epilog = "examples:\n  ldie benchmark runs/centernet --size 480x640\n  ldie benchmark centernet:full"
    text = "a .safetensors file, a run's work folder (its best one), or SYSTEM[:PRESET] with fresh weights"
    parser.add_argument("run", metavar="RUN", help=text)
    pictures = parser.add_mutually_exclusive_group()
    text = "height and width of an image of random pixels to run on (default: 480x640)"
    pictures.add_argument("--size", type=size, default=(480, 640), metavar="HxW", help=text)
    text = "image files to run on instead, the first of a batch; reading them counts"
    pictures.add_argument("--images", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    add_batch_size(parser, 1)
    text = "calls to time, after some to warm up (default: %(default)s)"
    parser.add_argument("--repeats", type=whole(1), default=30, metavar="N", help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all figures into this JSON file, too")
    add_device(parser)
