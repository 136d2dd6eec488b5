# SPDX-License-Identifier: Apache-2.0
"""The ``ldie`` command: train, eval, predict, show, convert, import, export, benchmark, info; edits of photographs.

Exit codes: 0 done, 1 bad input (one line on stderr), 2 bad usage, 130 stopped by Ctrl-C (a checkpoint is written), 141
nobody reads stdout any more.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import ldie
from ldie import console
from ldie.export import FORMATS
from ldie.systems import SYSTEMS
from ldie.tasks import TASKS
from ldie.threads import share_cores

_TRAIN_EXAMPLES = """examples:
  ldie train centernet                          on generated shapes, into runs/centernet
  ldie train centernet --data ~/coco --work-dir runs/coco --set solver.max_iter=90000 solver.batch_size=32
  ldie train rcnn --data ~/pets --work-dir runs/pets --set solver.max_iter="30 epochs" model.keypoint_head.enabled=false
  ldie train centernet --resume                 go on after Ctrl-C, a crash or a power cut
  ldie train centernet --print-config           every configuration key with its value
  torchrun --nproc-per-node 8 -m ldie train centernet --data ~/coco --work-dir runs/coco
"""

_PLAN_EXAMPLES = """examples:
  ldie plan before.jpg after.jpg                          which edits, in which order; into plan/
  ldie plan before.jpg after.jpg --apply-to holidays/     and do them to other photographs, into plan/applied/
  ldie plan before.png after.png --mask sky.png --operators brightness saturation --max-steps 2
"""
_PLAN_METHODS = ("joint", "beam", "fixed", "epsilon_greedy")
_PLAN_OPERATORS = ("brightness", "contrast", "saturation", "sharpness", "tone_curve", "color_curve")
_MORE_OPERATORS = (
    "exposure", "black_white", "white_balance", "hue", "lightness", "blur", "edge", "color_bg", "colorize",
    "inpaint_obj",
)  # fmt: skip

_MOST, SEEDS, _LONGEST = 2**31 - 1, 2**63 - 1, 2**14


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    console.prepare_streams()
    try:
        with console.stdout_written():
            return _run(arguments)
    except BrokenPipeError:
        console.give_up_stdout()
        return console.UNREAD
    except KeyboardInterrupt:
        return console.INTERRUPTED


def _run(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    share_cores()
    try:
        with console.imports():
            from ldie import commands  # imports torch: not before the usage is known to be right

        return commands.COMMANDS[options.command](options)
    except BrokenPipeError:
        raise
    except Exception as error:
        message = console.one_line(error)
        if options.debug or message is None:
            raise
        console.say(message)
        return 1


class _Parser(argparse.ArgumentParser):
    """Keeps its errors to one line, whatever the arguments hold."""

    def error(self, message: str) -> NoReturn:
        super().error(console.printable(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="ldie",
        description="Trains, evaluates and runs detection, segmentation and image-editing systems on ldie_ext.",
        epilog="exit codes: 0 done, 1 bad input, 2 bad usage, 130 stopped by Ctrl-C, 141 nobody reads stdout",
    )
    parser.add_argument("--version", action="version", version=f"ldie {ldie.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    _add_train(commands)
    _add_eval(commands)
    _add_predict(commands)
    _add_show(commands)
    _add_convert(commands)
    _add_import(commands)
    _add_benchmark(commands)
    _add_export(commands)
    _add_apply(commands)
    _add_recipe(commands)
    _add_plan(commands)
    _add_synth(commands)
    info = _add(commands, "info", "print versions, devices, loaded native libraries and operators")
    info.epilog = "example:\n  ldie info"
    return parser


def _add(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error and more log messages")
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "train", "train a system, evaluate it, and write checkpoints, metrics and pictures")
    parser.epilog = _TRAIN_EXAMPLES
    parser.add_argument("system", metavar="SYSTEM", help=" | ".join(SYSTEMS))
    parser.add_argument("--preset", metavar="NAME", help="named configuration (default: the system's own)")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML on top of the preset, which it may name (preset: full)"
    )
    _add_data(parser, "to train and evaluate on (default: the configuration's, shapes)")
    parser.add_argument("--work-dir", type=Path, metavar="DIR", help="where everything goes (default: runs/SYSTEM)")
    parser.add_argument("--seed", type=_whole(0, SEEDS), help="of weights, order, augmentation and generated data")
    existing = parser.add_mutually_exclusive_group()
    text = "go on from the newest checkpoint in the work folder, with its configuration (--preset, --config not used)"
    existing.add_argument("--resume", action="store_true", help=text)
    existing.add_argument("--overwrite", action="store_true", help="replace the run that the work folder holds")
    text = "override configuration keys of any case: solver.max_iter=200 MODEL.DISCRIMINATOR.MASKING=false"
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=text)
    parser.add_argument("--print-config", action="store_true", help="print the resolved configuration and stop")
    text = "print where a step's time goes, operator by operator, over N steps after the first 5 (default: %(const)s)"
    parser.add_argument("--profile", nargs="?", type=_whole(1), default=0, const=10, metavar="N", help=text)
    _add_device(parser)


def _add_eval(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "eval", "evaluate a checkpoint with COCO metrics")
    parser.epilog = "example:\n  ldie eval runs/centernet --data ~/coco --out runs/centernet/coco"
    _add_checkpoint(parser)
    _add_data(parser, "to evaluate on (default: that of the training run)")
    text = "also AP, AP50 and number of objects of each class, in metrics.json too"
    parser.add_argument("--per-class", action="store_true", help=text)
    text = "for metrics.json, detections.json and pictures/ (default: eval/ in the run's work folder)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    _add_batch_size(parser)
    _add_device(parser)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "predict", "run a checkpoint on image files; write annotated images and COCO json")
    parser.epilog = "example:\n  ldie predict runs/centernet photo.jpg holidays/ --out found"
    _add_checkpoint(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files (PNG, JPEG, ...) or folders")
    text = "for one PNG per image and predictions.json (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR", help=text)
    _add_batch_size(parser)
    text = "draw detections from this score on; the json has all (default: %(default)s)"
    parser.add_argument("--min-score", type=_score, default=0.3, metavar="S", help=text)
    _add_device(parser)


def _add_show(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "show", "draw a dataset: boxes, masks, keypoints and crowds")
    parser.epilog = "example:\n  ldie show --data ~/coco --split val2017 --count 30 --out pictures"
    _add_data(parser, "to draw", required=True)
    text = f"kind of data: {' | '.join(TASKS)} (default: %(default)s)"
    parser.add_argument("--task", default="detection", metavar="TASK", help=text)
    text = "for the pictures (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("pictures"), metavar="DIR", help=text)
    parser.add_argument("--split", default="train2017", help="which part of the data (default: %(default)s)")
    text = "how many images, from the first on (default: %(default)s)"
    parser.add_argument("--count", type=_whole(1), default=16, help=text)
    parser.add_argument("--seed", type=_whole(0, SEEDS), default=0, help="of generated shapes (default: %(default)s)")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "convert", "write a YOLO or Pascal VOC data set in COCO's layout, which --data takes")
    parser.epilog = "example:\n  ldie convert coco8/ --out coco8-coco"
    text = "folder with data.yaml, obj.names or Annotations/, or YOLO's YAML file"
    parser.add_argument("source", type=Path, metavar="SRC", help=text)
    text = "a new folder; images are linked where possible, else copied"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=text)


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "import", "make a checkpoint of published weights; nothing in their file is run")
    parser.epilog = "example:\n  ldie import centernet ctdet_coco_resdcn18.pth --out resdcn18.safetensors"
    parser.add_argument("system", metavar="SYSTEM", help=" | ".join(SYSTEMS))
    text = "weights: safetensors, what torch.save wrote, or a pickle of arrays"
    parser.add_argument("file", type=Path, metavar="FILE", help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the checkpoint, a .safetensors file")
    text = "the networks that the weights are for (default: the first that the system has published weights for)"
    parser.add_argument("--preset", metavar="NAME", help=text)


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "export", "write a checkpoint's model as one graph for other programs, and compare the two")
    parser.epilog = "example:\n  ldie export runs/centernet --format onnx --out centernet.onnx --size 480x640"
    _add_checkpoint(parser)
    text = "torch.export (for programs with torch and ldie_ext) or onnx"
    parser.add_argument("--format", choices=FORMATS, metavar="FORMAT", required=True, help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help="the file, usually .pt2 or .onnx")
    text = "height and width of the images that the graph takes (default: the model's own choice)"
    parser.add_argument("--size", type=_size, metavar="HxW", help=text)
    text = "images that the graph takes together (default: %(default)s)"
    parser.add_argument("--batch-size", type=_whole(1), default=1, metavar="N", help=text)
    _add_data(parser, "to compare on beside noise (default: noise alone)")


def _add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "benchmark", "measure inference: latency and its stages, images/s, peak memory")
    parser.epilog = "examples:\n  ldie benchmark runs/centernet --size 480x640\n  ldie benchmark centernet:full"
    text = "a .safetensors file, a run's work folder (its best one), or SYSTEM[:PRESET] with fresh weights"
    parser.add_argument("run", metavar="RUN", help=text)
    pictures = parser.add_mutually_exclusive_group()
    text = "height and width of an image of random pixels to run on (default: 480x640)"
    pictures.add_argument("--size", type=_size, default=(480, 640), metavar="HxW", help=text)
    text = "image files to run on instead, the first of a batch; reading them counts"
    pictures.add_argument("--images", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    _add_batch_size(parser, 1)
    text = "calls to time, after some to warm up (default: %(default)s)"
    parser.add_argument("--repeats", type=_whole(1), default=30, metavar="N", help=text)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all figures into this JSON file, too")
    _add_device(parser)


def _add_apply(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "apply", "apply a recipe of edits to photographs, which stay as they are")
    parser.epilog = (
        "examples:\n  ldie apply look.json photo.jpg --out edited\n  ldie apply look.json holidays/ --out edited"
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe's JSON file")
    parser.add_argument("photos", type=Path, metavar="IMAGE|DIR", help="a photograph, or a folder of them")
    text = "for the edited photographs, by the same names; another folder than theirs"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=text)
    parser.add_argument("--steps", action="store_true", help="write the result after each step, too")
    text = "leave the last N steps out"
    parser.add_argument("--undo", type=_whole(0), default=0, metavar="N", help=text)
    _add_strength(parser)
    text = "edit only where this picture is white; of the photographs' aspect, resized to them"
    parser.add_argument("--mask", type=Path, metavar="FILE", help=text)
    text = "edit only inside this box, in pixels of the upright photograph"
    parser.add_argument("--box", type=_box, metavar="X1,Y1,X2,Y2", help=text)
    text = "write a page with before and after, too: one file that any browser shows"
    parser.add_argument("--page", action="store_true", help=text)


def _add_recipe(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "recipe", "show a recipe, write it as a look for other programs, or show the operators")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    export = _add(actions, "export", "write a recipe as a .cube file, a table of colours that other programs take")
    export.epilog = "example:\n  ldie recipe export look.json look.cube --size 65"
    export.add_argument("recipe", type=Path, metavar="RECIPE", help="its steps edit each pixel by itself, no masks")
    export.add_argument("cube", type=Path, metavar="OUT", help="the .cube file")
    text = "colours along each side of the table: 33 or, nearer to the recipe, 65 (default: %(default)s)"
    export.add_argument("--size", type=int, choices=(33, 65), default=33, help=text)
    _add_strength(export)
    show = _add(actions, "show", "print a recipe's steps")
    show.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe's JSON file")
    text = "draw one photograph under each operator at three strengths, and write a recipe for each"
    gallery = _add(actions, "gallery", text)
    gallery.epilog = "example:\n  ldie recipe gallery photo.jpg --out gallery"
    gallery.add_argument("photo", type=Path, metavar="IMAGE", help="a photograph")
    gallery.add_argument("--out", type=Path, metavar="DIR", required=True, help="for gallery.html and recipes/")


def _add_strength(parser: argparse.ArgumentParser) -> None:
    text = "how much of the recipe, from 0 to 1 (default: all)"
    parser.add_argument("--strength", type=_score, default=1.0, metavar="S", help=text)


def _add_plan(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "plan", "find the edits between two photographs; write them as a recipe, and apply it")
    parser.epilog = _PLAN_EXAMPLES
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a photograph")
    parser.add_argument("after", type=Path, metavar="AFTER", help="the same one, edited; of another size if need be")
    text = "for plan.json, plan.png and applied/ (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("plan"), metavar="DIR", help=text)
    text = "do the edits to this photograph, or to all in this folder, too"
    parser.add_argument("--apply-to", type=Path, metavar="FILE|DIR", help=text)
    text = f"edits to choose from: {' '.join((*_PLAN_OPERATORS, *_MORE_OPERATORS))} (default: the first six)"
    known = (*_PLAN_OPERATORS, *_MORE_OPERATORS)
    parser.add_argument("--operators", nargs="+", choices=known, default=_PLAN_OPERATORS, metavar="OP", help=text)
    text = "edits at most (default: 3 for joint, else as many as there are operators, 8 at most)"
    parser.add_argument("--max-steps", type=_whole(1, 8), metavar="N", help=text)
    text = f"{' | '.join(_PLAN_METHODS)}; all but joint come near, but seldom by the edits that were made"
    parser.add_argument("--method", choices=_PLAN_METHODS, default="joint", metavar="METHOD", help=text)
    text = "pictures, white where an edit may be local to, or to the rest; color_bg and inpaint_obj need one"
    parser.add_argument("--mask", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    text = "pixels along a side that are looked at (default: %(default)s)"
    parser.add_argument("--size", type=_whole(16, 4096), default=128, metavar="N", help=text)
    text = "then fit the edits' numbers to all pixels also of more than 4 megapixels, which may take minutes"
    parser.add_argument("--full", action="store_true", help=text)
    text = "of joint: mean difference that fewer numbers may cost (default: 0.00013, what 8 bits can hide)"
    parser.add_argument("--tolerance", type=_score, metavar="T", help=text)
    parser.add_argument("--seed", type=_whole(0, SEEDS), default=0, help="of epsilon_greedy (default: %(default)s)")


def _add_synth(commands: argparse._SubParsersAction) -> None:
    parser = _add(commands, "synth", "make up edits of pictures, and write them with the record of what was done")
    parser.epilog = "example:\n  ldie synth edits --data ~/coco --session 0 --count 50 --out made-up"
    parser.add_argument("what", choices=["edits"], metavar="edits", help="what to make up")
    text = "pictures: generated ones, or a folder in COCO layout, whose masks are the objects for local edits"
    parser.add_argument("--data", metavar="synedit|DIR", required=True, help=text)
    text = "which part of a folder (default: %(default)s)"
    parser.add_argument("--split", default="train2017", help=text)
    text = "of each picture, 0: one invertible edit, one local colour, one local inpainting, one compound; 1: the first"
    parser.add_argument("--session", type=int, choices=[0, 1], required=True, help=text)
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new folder")
    text = "how many pictures at most, from the first on (default: %(default)s)"
    parser.add_argument("--count", type=_whole(1), default=100, metavar="N", help=text)
    parser.add_argument("--seed", type=_whole(0, SEEDS), default=0, help="of edits and generated pictures (default: 0)")
    text = "side of generated pictures (default: 128), or the longer side to shrink others to (default: as they are)"
    parser.add_argument("--size", type=_whole(32, _LONGEST), metavar="N", help=text)


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a .safetensors file, or a run's work folder (its best one)"
    )


def _add_data(parser: argparse.ArgumentParser, use: str, required: bool = False) -> None:
    text = (
        f"data {use}: generated shapes, their hard variant with crowds and tiny objects, "
        "or a folder in COCO layout (train2017/, val2017/, annotations/), which ldie convert makes of others"
    )
    parser.add_argument("--data", metavar="shapes|shapes-hard|DIR", help=text, required=required)


def _add_batch_size(parser: argparse.ArgumentParser, default: int = 8) -> None:
    text = "images that go through the model together (default: %(default)s)"
    parser.add_argument("--batch-size", type=_whole(1), default=default, metavar="N", help=text)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU if there is one)")


def _whole(least: int, most: int = _MOST) -> Callable[[str], int]:
    """Type of an option that takes whole numbers in a range."""

    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:  # no number, or thousands of digits
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
        return value

    return whole_number


def _score(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, got {text!r}")
    return value


def _box(text: str) -> tuple[int, int, int, int]:
    try:
        x1, y1, x2, y2 = map(int, text.split(","))
    except ValueError:  # not four, no numbers, or thousands of digits
        x1, y1, x2, y2 = -1, -1, -1, -1
    if not (0 <= x1 < x2 <= _MOST and 0 <= y1 < y2 <= _MOST):
        raise argparse.ArgumentTypeError(f"must be X1,Y1,X2,Y2, with 0 <= X1 < X2 and 0 <= Y1 < Y2, got {text!r}")
    return x1, y1, x2, y2


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    try:
        size = (int(height), int(width))
    except ValueError:  # no numbers, or thousands of digits
        size = (0, 0)
    if not all(1 <= length <= _LONGEST for length in size):
        raise argparse.ArgumentTypeError(f"must be HxW of 1 to {_LONGEST} pixels each, as 480x640, got {text!r}")
    return size
