# SPDX-License-Identifier: Apache-2.0
"""The parsers of the commands that edit photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ldie.cli.arguments import LONGEST, SEEDS, add_device, add_strength, box, command, score, whole

_EDIT_EXAMPLES = """examples:
  ldie edit photo.jpg "make it warmer and a bit brighter"      into edited/photo.jpg, with the steps as photo.jpg.json
  ldie edit holidays/ "more contrast" --dry-run                what it would do to each photograph
  ldie edit photo.jpg "brighten the car" --box 100,50,400,300  only there
"""
_PLAN_EXAMPLES = """examples:
  ldie plan before.jpg after.jpg                          which edits, in which order; into plan/
  ldie plan before.jpg after.jpg --apply-to holidays/     and do them to other photographs, into plan/applied/
  ldie plan before.png after.png --mask sky.png --operators brightness saturation --max-steps 2
"""
_PLAN_METHODS = ("joint", "beam", "fixed", "epsilon_greedy")
PLAN_OPERATORS = ("brightness", "contrast", "saturation", "sharpness", "tone_curve", "color_curve")
_EDITS = ("exposure", "black_white", "white_balance", "hue", "lightness", "blur", "edge")
MORE_OPERATORS = (*_EDITS, "color_bg", "colorize", "inpaint_obj")


def add_editing_commands(commands: argparse._SubParsersAction) -> None:
    """Adds ``edit``, ``apply``, ``recipe``, ``plan``, ``plans``, ``synth``, ``split`` and ``index``."""
    _add_edit(commands)
    _add_apply(commands)
    _add_recipe(commands)
    _add_plan(commands)
    _add_plans(commands)
    _add_synth(commands)
    _add_split(commands)
    _add_index(commands)


def _add_edit(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "edit", "edit photographs as a request in words asks for; they stay as they are")
    parser.epilog = _EDIT_EXAMPLES
    parser.add_argument("photos", type=Path, metavar="IMAGE|DIR", help="a photograph, or a folder of them")
    parser.add_argument("request", metavar="REQUEST", help="what to do, in quotes: one sentence in English")
    text = "of the system editing: a .safetensors file, or a run's work folder (default: %(default)s)"
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/editing"), metavar="RUN", help=text)
    text = "for the edited photographs and their recipes, by the same names (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("edited"), metavar="DIR", help=text)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    _add_way(parser)
    add_device(parser)


def _add_apply(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "apply", "apply a recipe of edits to photographs, which stay as they are")
    parser.epilog = (
        "examples:\n  ldie apply look.json photo.jpg --out edited\n  ldie apply look.json holidays/ --out edited"
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe's JSON file")
    parser.add_argument("photos", type=Path, metavar="IMAGE|DIR", help="a photograph, or a folder of them")
    text = "for the edited photographs, by the same names; another folder than theirs"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=text)
    _add_way(parser)


def _add_way(parser: argparse.ArgumentParser) -> None:
    """Adds the options of how steps are done to photographs."""
    parser.add_argument("--steps", action="store_true", help="write the result after each step, too")
    text = "leave the last N steps out"
    parser.add_argument("--undo", type=whole(0), default=0, metavar="N", help=text)
    add_strength(parser)
    text = "edit only where this picture is white; of the photographs' aspect, resized to them"
    parser.add_argument("--mask", type=Path, metavar="FILE", help=text)
    text = "edit only inside this box, in pixels of the upright photograph"
    parser.add_argument("--box", type=box, metavar="X1,Y1,X2,Y2", help=text)
    text = "write a page with before and after, too: one file that any browser shows"
    parser.add_argument("--page", action="store_true", help=text)


def _add_recipe(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "recipe", "show a recipe, write it as a look for other programs, or show the operators")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True, dest="action")
    export = command(actions, "export", "write a recipe as a .cube file, a table of colours that other programs take")
    export.epilog = "example:\n  ldie recipe export look.json look.cube --size 65"
    export.add_argument("recipe", type=Path, metavar="RECIPE", help="its steps edit each pixel by itself, no masks")
    export.add_argument("cube", type=Path, metavar="OUT", help="the .cube file")
    text = "colours along each side of the table: 33 or, nearer to the recipe, 65 (default: %(default)s)"
    export.add_argument("--size", type=int, choices=(33, 65), default=33, help=text)
    add_strength(export)
    show = command(actions, "show", "print a recipe's steps")
    show.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe's JSON file")
    text = "draw one photograph under each operator at three strengths, and write a recipe for each"
    gallery = command(actions, "gallery", text)
    gallery.epilog = "example:\n  ldie recipe gallery photo.jpg --out gallery"
    gallery.add_argument("photo", type=Path, metavar="IMAGE", help="a photograph")
    gallery.add_argument("--out", type=Path, metavar="DIR", required=True, help="for gallery.html and recipes/")


def _add_plan(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "plan", "find the edits between two photographs; write them as a recipe, and apply it")
    parser.epilog = _PLAN_EXAMPLES
    parser.add_argument("before", type=Path, metavar="BEFORE", help="a photograph")
    parser.add_argument("after", type=Path, metavar="AFTER", help="the same one, edited; of another size if need be")
    text = "for plan.json, plan.png and applied/ (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("plan"), metavar="DIR", help=text)
    text = "do the edits to this photograph, or to all in this folder, too"
    parser.add_argument("--apply-to", type=Path, metavar="FILE|DIR", help=text)
    _add_search(parser, (*PLAN_OPERATORS, *MORE_OPERATORS))
    text = "pictures, white where an edit may be local to, or to the rest; color_bg and inpaint_obj need one"
    parser.add_argument("--mask", nargs="+", type=Path, default=[], metavar="FILE", help=text)
    text = "pixels along a side that are looked at (default: %(default)s)"
    parser.add_argument("--size", type=whole(16, 4096), default=128, metavar="N", help=text)
    text = "then fit the edits' numbers to all pixels also of more than 4 megapixels, which may take minutes"
    parser.add_argument("--full", action="store_true", help=text)
    text = "of joint: mean difference that fewer numbers may cost (default: 0.00013, what 8 bits can hide)"
    parser.add_argument("--tolerance", type=score, metavar="T", help=text)
    parser.add_argument("--seed", type=whole(0, SEEDS), default=0, help="of epsilon_greedy (default: %(default)s)")


def _add_plans(commands: argparse._SubParsersAction) -> None:
    text = "find the edits of all pairs in a data set of requests, for a model to learn from; goes on where it ended"
    parser = command(commands, "plans", text)
    parser.epilog = (
        "example:\n  ldie plans ~/FiveK --out plans.json\n"
        "  ldie train editing --data ~/FiveK --set dataset.plans=plans.json"
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="a folder of MA5k-Req or GIER")
    text = "file of the plans; dataset.plans takes it"
    parser.add_argument("--out", type=Path, metavar="FILE", required=True, help=text)
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="(default: %(default)s)")
    text = "of GIER: which pairs, such as global+shapeAlign (default: %(default)s)"
    parser.add_argument("--mode", default="full", help=text)
    text = "where other files of the splits are, as ldie split writes them"
    parser.add_argument("--splits", type=Path, metavar="DIR", help=text)
    text = "pixels along each side that pictures are resized to (default: %(default)s)"
    parser.add_argument("--size", type=whole(16, 4096), default=128, metavar="N", help=text)
    _add_search(parser, (*PLAN_OPERATORS, *_EDITS))


def _add_search(parser: argparse.ArgumentParser, known: tuple[str, ...]) -> None:
    text = f"edits to choose from: {' '.join(known)} (default: the first six)"
    parser.add_argument("--operators", nargs="+", choices=known, default=PLAN_OPERATORS, metavar="OP", help=text)
    text = "edits at most (default: 3 for joint, else as many as there are operators, 8 at most)"
    parser.add_argument("--max-steps", type=whole(1, 8), metavar="N", help=text)
    text = f"{' | '.join(_PLAN_METHODS)}; all but joint come near, but seldom by the edits that were made"
    parser.add_argument("--method", choices=_PLAN_METHODS, default="joint", metavar="METHOD", help=text)


def _add_synth(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "synth", "make up edits of pictures, and write them with the record of what was done")
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
    parser.add_argument("--count", type=whole(1), default=100, metavar="N", help=text)
    parser.add_argument("--seed", type=whole(0, SEEDS), default=0, help="of edits and generated pictures (default: 0)")
    text = "side of generated pictures (default: 128), or the longer side to shrink others to (default: as they are)"
    parser.add_argument("--size", type=whole(32, LONGEST), metavar="N", help=text)


def _add_split(commands: argparse._SubParsersAction) -> None:
    text = "say which input images a data set of requests has in several splits; write splits in which each is in one"
    parser = command(commands, "split", text)
    parser.epilog = "example:\n  ldie split ~/GIER --out leak-free"
    parser.add_argument("data", type=Path, metavar="DIR", help="a folder of MA5k-Req or GIER")
    text = "a new folder for the files of the splits and leakage.json; dataset.splits takes it"
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help=text)
    parser.add_argument("--seed", type=whole(0, SEEDS), default=0, help="of the order of images (default: %(default)s)")
    text = "parts of the images for train, val and test, which add up to 1 (default: 0.8 0.1 0.1)"
    parser.add_argument(
        "--ratios", nargs=3, type=score, default=(0.8, 0.1, 0.1), metavar=("TRAIN", "VAL", "TEST"), help=text
    )


def _add_index(commands: argparse._SubParsersAction) -> None:
    parser = command(commands, "index", "write a page over several runs: metrics, a picture and a link to each")
    parser.epilog = "example:\n  ldie index runs/* --out runs/index.html"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="work folders of ldie train")
    text = "the page (default: %(default)s)"
    parser.add_argument("--out", type=Path, default=Path("runs.html"), metavar="FILE", help=text)
