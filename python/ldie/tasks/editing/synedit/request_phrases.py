# SPDX-License-Identifier: Apache-2.0
"""What can be asked for in SynEdit's requests, and the phrases for it, as data.

A phrase's places: ``{it}`` what is edited, ``{the}`` and ``{of}`` before and after a property of it, and one for the
degree (:data:`DEGREES`). A phrase without a place for the degree asks for the middle one. Nothing is named by a word of
one letter, which vocabularies leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ldie.tasks.editing.synedit.synedit_pairs import MAGNITUDES
from ldie_ext import EditOp

WEAK, MIDDLE, STRONG = range(3)
DEGREES: dict[str, tuple[tuple[str, ...], ...]] = {
    "more": (("a bit", "slightly", "a little", "somewhat", "a touch"), ("",), ("much", "a lot", "far", "way")),
    "by": (
        ("a bit", "slightly", "a little", "somewhat", "a tiny bit"),
        ("",),
        ("a lot", "very much", "strongly", "considerably", "heavily"),
    ),
    "too": (("a bit", "a little", "slightly", "somewhat"), ("",), ("much", "far", "way")),
    "dose": (("a bit of", "a touch of", "a little"), ("", "some"), ("a lot of", "lots of")),
    "part": (("a bit of", "a little"), ("some",), ("a lot of", "lots of")),
    "amount": (("a bit", "a little"), (), ("a lot",)),
    "very": ((), (), ("very",)),
}
"""Words for a weak, a middle and a strong edit, by the place where they stand; where there are none for a degree, the
phrase is not used for it."""
ADVERBS = (("slightly", "gently", "subtly"), (), ("strongly", "really", "heavily", "considerably"))
"""Those that stand before a verb instead of behind it (``{by}``)."""
SPELLINGS = {
    "colour": ("colour", "color"),
    "colours": ("colours", "colors"),
    "colourful": ("colourful", "colorful"),
    "colourless": ("colourless", "colorless"),
    "grey": ("grey", "gray"),
}


@dataclass(frozen=True, eq=False)
class Aim:
    """Something to ask for: an operator with its sign, at three degrees or at one; each is only equal to itself."""

    op: EditOp
    levels: tuple[tuple[float, ...], ...]
    """Parameters from weak to strong; one where there is no degree; none where the picture decides."""
    adjectives: tuple[str, ...] = ()
    """What the picture is to be: ``brighter``."""
    nouns: tuple[str, ...] = ()
    """What it is to have: ``more contrast``."""
    wrongs: tuple[str, ...] = ()
    """What it is too much of: ``dark``."""
    lacks: tuple[str, ...] = ()
    """What it is not enough: ``bright``."""
    raised: tuple[str, ...] = ()
    """Properties that are to go up."""
    lowered: tuple[str, ...] = ()
    """Properties that are to go down."""
    seen: tuple[str, ...] = ()
    """Other phrases of training requests."""
    held: tuple[str, ...] = ()
    """Other phrases that are held out."""


LIFTED = (1.0, 0.4, -0.3, -0.5, -0.4, -0.2, 0.0, 0.0)
"""How a curve's weights change that lifts shadows; they keep their mean. Reversed: one that tames highlights."""


def _curve(slope: Sequence[float], strengths: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(1 + strength * change, 4) for change in slope) for strength in strengths)


def _balance(strengths: Sequence[float]) -> tuple[tuple[float, ...], ...]:
    """Red against blue, warmer where positive; grey keeps its luminance (.27 r + .67 g + .06 b)."""
    rows = [(1 + strength / 2, 1.0, 1 - strength) for strength in strengths]
    return tuple(tuple(round(value / (0.27 * r + 0.67 * g + 0.06 * b), 4) for value in (r, g, b)) for r, g, b in rows)


def _scalars(op: EditOp, sign: int) -> tuple[tuple[float, ...], ...]:
    return tuple((value,) for value in sorted((v for v in MAGNITUDES[op] if v * sign > 0), key=abs))


AIMS: tuple[Aim, ...] = (
    Aim(
        EditOp.BRIGHTNESS, _scalars(EditOp.BRIGHTNESS, 1),
        adjectives=("brighter", "lighter", "less dark"), nouns=("more brightness", "more light"),
        wrongs=("dark", "dim"), lacks=("bright",), raised=("brightness",),
        seen=("brighten {it} {by}", "brighten {it} up {by}", "lighten {it} {by}", "make {it} {very} bright",
              "brightness {amount}", "add {dose} brightness", "add {dose} light", "bring {dose} light into {it}",
              "{it} is underexposed", "{it} seems underexposed",
              "{the} brightness{of} is {too} too low"),
        held=("lighten {it} up {by}", "make {it} look {more} brighter", "give {it} {dose} light", "{it} lacks light",
              "{it} looks underexposed"),
    ),
    Aim(
        EditOp.BRIGHTNESS, _scalars(EditOp.BRIGHTNESS, -1),
        adjectives=("darker", "dimmer", "less bright"), nouns=("less brightness", "less light"),
        wrongs=("bright", "light"), lacks=("dark",), lowered=("brightness",),
        seen=("darken {it} {by}", "dim {it} {by}", "make {it} {very} dark", "dim {it} down {by}",
              "remove {part} brightness", "take {part} light away", "take {part} brightness out",
              "{it} is overexposed", "{it} looks overexposed",
              "{the} brightness{of} is {too} too high"),
        held=("darken {it} down {by}", "make {it} look {more} darker", "remove {part} light", "{it} seems overexposed"),
    ),
    Aim(
        EditOp.CONTRAST, _scalars(EditOp.CONTRAST, 1),
        adjectives=("less flat", "more contrasty"), nouns=("more contrast", "stronger contrast", "higher contrast"),
        wrongs=("flat",), lacks=("contrasty",), raised=("contrast",),
        seen=("add {dose} contrast", "make {the} contrast{of} {more} stronger", "put {dose} contrast into {it}",
              "make {the} contrast{of} {more} higher", "{it} lacks contrast", "strengthen {the} contrast{of} {by}",
              "make {the} contrast{of} {very} high"),
        held=("bring {dose} contrast into {it}", "{the} contrast{of} is not high enough", "give {it} {dose} contrast",
              "{the} contrast{of} is {too} too low"),
    ),
    Aim(
        EditOp.CONTRAST, _scalars(EditOp.CONTRAST, -1),
        adjectives=("flatter", "less contrasty", "less harsh"),
        nouns=("less contrast", "weaker contrast", "lower contrast"),
        wrongs=("harsh", "contrasty"), lacks=("flat",), lowered=("contrast",),
        seen=("flatten {it} {by}", "make {the} contrast{of} {more} weaker", "take {part} contrast away",
              "remove {part} contrast", "{the} contrast{of} is {too} too strong", "weaken {the} contrast{of} {by}",
              "make {the} contrast{of} {very} low"),
        held=("make {the} contrast{of} {more} lower", "make {it} look {more} flatter", "take {part} contrast out",
              "{the} contrast{of} is {too} too high"),
    ),
    Aim(
        EditOp.SATURATION, _scalars(EditOp.SATURATION, 1),
        adjectives=("more {colourful}", "more vivid", "more saturated", "less pale", "more vibrant"),
        nouns=("more {colour}", "more saturation", "stronger {colours}", "richer {colours}", "livelier {colours}"),
        wrongs=("pale", "{colourless}"), lacks=("{colourful}", "vivid"), raised=("saturation", "{colour}", "{colours}"),
        seen=("saturate {it} {by}", "make {the} {colours}{of} {more} stronger", "make {the} {colours}{of} pop {by}",
              "intensify {the} {colours}{of} {by}", "add {dose} {colour}", "add {dose} saturation",
              "{the} {colours}{of} are {too} too weak", "{the} {colours}{of} look {too} too pale",
              "bring out {the} {colours}{of} {by}", "make {it} {very} {colourful}",
              "{the} {colours}{of} are {too} too dull", "{the} {colours}{of} are washed out",
              "{the} {colours}{of} look washed out", "{the} saturation{of} is {too} too low",
              "make {the} {colours}{of} {more} livelier"),
        held=("make {the} {colours}{of} {more} richer", "strengthen {the} {colours}{of} {by}",
              "{the} {colours}{of} are {too} too pale", "{the} {colours}{of} look {too} too dull",
              "{the} {colours}{of} seem washed out", "put {dose} {colour} into {it}", "{it} lacks {colour}"),
    ),
    Aim(
        EditOp.SATURATION, _scalars(EditOp.SATURATION, -1),
        adjectives=("less {colourful}", "less vivid", "less saturated", "more muted", "paler"),
        nouns=("less {colour}", "less saturation", "weaker {colours}", "paler {colours}"),
        wrongs=("{colourful}", "vivid", "saturated"), lacks=("muted",), lowered=("saturation", "{colour}", "{colours}"),
        seen=("desaturate {it} {by}", "mute {the} {colours}{of} {by}", "tone {the} {colours}{of} down {by}",
              "make {the} {colours}{of} {more} weaker", "take {part} {colour} away", "remove {part} saturation",
              "{the} {colours}{of} are {too} too strong", "fade {the} {colours}{of} {by}", "make {it} {very} pale",
              "{the} saturation{of} is {too} too high"),
        held=("make {the} {colours}{of} {more} paler", "weaken {the} {colours}{of} {by}", "take {part} {colour} out",
              "{the} {colours}{of} look {too} too strong", "tone down {the} {colours}{of} {by}"),
    ),
    Aim(
        EditOp.SHARPNESS, _scalars(EditOp.SHARPNESS, 1),
        adjectives=("sharper", "crisper", "less blurry", "less soft"),
        nouns=("more sharpness", "less blur", "sharper edges", "sharper details"),
        wrongs=("blurry", "soft"), lacks=("sharp", "crisp"), raised=("sharpness",), lowered=("blur",),
        seen=("sharpen {it} {by}", "sharpen {it} up {by}", "make {it} {very} sharp", "add {dose} sharpness",
              "make {the} edges{of} {more} sharper", "sharpen {the} details{of} {by}", "make {it} {very} crisp",
              "remove {part} blur", "{it} is out of focus", "bring {it} into focus",
              "{the} sharpness{of} is {too} too low"),
        held=("sharpen {the} edges{of} {by}", "make {the} details{of} {more} crisper", "take {part} blur away",
              "make {it} look {more} sharper", "{it} lacks sharpness",
              "{it} looks out of focus"),
    ),
    Aim(
        EditOp.BLUR, _scalars(EditOp.BLUR, 1),
        adjectives=("softer", "blurrier", "less sharp", "smoother", "less crisp"),
        nouns=("more blur", "less sharpness", "softer edges", "softer details"),
        wrongs=("sharp", "crisp"), lacks=("soft", "blurry"), raised=("blur",), lowered=("sharpness",),
        seen=("blur {it} {by}", "soften {it} {by}", "smooth {it} {by}", "make {it} {very} blurry", "add {dose} blur",
              "soften {the} edges{of} {by}", "make {it} {very} soft", "take {part} sharpness away",
              "{the} sharpness{of} is {too} too high"),
        held=("blur {the} details{of} {by}", "make {the} edges{of} {more} softer", "put {dose} blur into {it}",
              "make {it} look {more} softer", "remove {part} sharpness"),
    ),
    Aim(
        EditOp.WHITE_BALANCE, _balance((0.08, 0.16, 0.24)),
        adjectives=("warmer", "less cold", "less cool"), nouns=("more warmth", "warmer {colours}", "warmer tones"),
        wrongs=("cold", "cool", "blue", "bluish"), lacks=("warm",), raised=("warmth",),
        seen=("warm {it} up {by}", "warm {it} {by}", "add {dose} warmth", "add a warm tone", "make {it} {very} warm",
              "make {the} {colours}{of} {more} warmer", "make {the} tones{of} {more} warmer",
              "{the} {colours}{of} are {too} too cold"),
        held=("bring {dose} warmth into {it}", "warm {the} {colours}{of} up {by}", "make {it} look {more} warmer",
              "{the} tones{of} are {too} too cold", "{it} lacks warmth"),
    ),
    Aim(
        EditOp.WHITE_BALANCE, _balance((-0.08, -0.16, -0.24)),
        adjectives=("cooler", "colder", "less warm"), nouns=("less warmth", "cooler {colours}", "cooler tones"),
        wrongs=("warm", "yellow", "yellowish"), lacks=("cool", "cold"), lowered=("warmth",),
        seen=("cool {it} down {by}", "cool {it} {by}", "add a cool tone", "add a cold tone", "make {it} {very} cool",
              "make {the} {colours}{of} {more} cooler", "make {the} tones{of} {more} colder", "remove {part} warmth",
              "{the} {colours}{of} are {too} too warm"),
        held=("take {part} warmth out", "cool {the} {colours}{of} down {by}", "make {it} look {more} cooler",
              "{the} tones{of} are {too} too warm", "make {it} {very} cold"),
    ),
    Aim(
        EditOp.TONE_CURVE, _curve(LIFTED, (0.3, 0.6, 0.9)), nouns=("brighter shadows", "lighter shadows"),
        seen=("lift {the} shadows{of} {by}", "raise {the} shadows{of} {by}", "open up {the} shadows{of} {by}",
              "brighten {the} shadows{of} {by}", "make {the} shadows{of} {more} brighter",
              "brighten {the} dark parts{of} {by}", "{the} shadows{of} are {too} too dark",
              "lighten {the} dark areas{of} {by}", "make {the} dark parts{of} {more} lighter"),
        held=("lighten {the} shadows{of} {by}", "make {the} shadows{of} {more} lighter",
              "lift {the} dark areas{of} {by}", "brighten up {the} shadows{of} {by}",
              "{the} dark parts{of} are {too} too dark"),
    ),
    Aim(
        EditOp.TONE_CURVE, _curve(LIFTED, (-0.2, -0.35, -0.5)), nouns=("darker shadows", "deeper shadows"),
        seen=("deepen {the} shadows{of} {by}", "darken {the} shadows{of} {by}", "make {the} shadows{of} {more} darker",
              "make {the} shadows{of} {more} deeper", "darken {the} dark parts{of} {by}",
              "{the} shadows{of} are {too} too bright", "make {the} dark areas{of} {more} darker",
              "bring down {the} shadows{of} {by}", "lower {the} shadows{of} {by}"),
        held=("darken {the} dark areas{of} {by}", "make {the} dark parts{of} {more} deeper",
              "{the} shadows{of} are {too} too light", "bring {the} shadows{of} down {by}",
              "make {the} shadows{of} {very} dark"),
    ),
    Aim(
        EditOp.TONE_CURVE, _curve(LIFTED[::-1], (-0.2, -0.35, -0.5)),
        nouns=("brighter highlights", "lighter highlights"),
        seen=("boost {the} highlights{of} {by}", "brighten {the} highlights{of} {by}",
              "raise {the} highlights{of} {by}", "make {the} highlights{of} {more} brighter",
              "lift {the} bright parts{of} {by}", "make {the} bright areas{of} {more} lighter",
              "{the} highlights{of} are {too} too dark", "increase {the} highlights{of} {by}",
              "push up {the} highlights{of} {by}"),
        held=("lift {the} highlights{of} {by}", "boost {the} bright areas{of} {by}",
              "make {the} highlights{of} {more} lighter", "{the} highlights{of} are {too} too dim",
              "brighten up {the} highlights{of} {by}"),
    ),
    Aim(
        EditOp.TONE_CURVE, _curve(LIFTED[::-1], (0.3, 0.6, 0.9)), nouns=("darker highlights", "dimmer highlights"),
        seen=("tame {the} highlights{of} {by}", "tone down {the} highlights{of} {by}",
              "reduce {the} highlights{of} {by}", "darken {the} highlights{of} {by}",
              "make {the} highlights{of} {more} darker", "bring down {the} bright parts{of} {by}",
              "{the} highlights{of} are {too} too bright", "recover {the} highlights{of} {by}",
              "lower {the} highlights{of} {by}", "darken {the} bright areas{of} {by}"),
        held=("tone {the} highlights{of} down {by}", "tame {the} bright parts{of} {by}",
              "bring {the} highlights{of} down {by}", "make {the} bright areas{of} {more} darker",
              "{the} bright parts{of} are {too} too bright"),
    ),
    Aim(
        EditOp.BLACK_WHITE, ((1.0,),),
        adjectives=("black and white", "monochrome", "grayscale", "completely {grey}"), nouns=("no {colour}",),
        seen=("turn {it} black and white", "convert {it} to black and white", "turn {it} into black and white",
              "remove all {colour}", "convert {it} to monochrome", "take all {colour} away",
              "i want {it} in black and white", "remove all {colours}", "convert {it} to grayscale"),
        held=("convert {it} into black and white", "turn {it} to monochrome", "turn {it} completely {grey}",
              "take all {colours} out", "turn {it} into grayscale", "drop all {colour}", "cut all {colours}"),
    ),
)  # fmt: skip
FIX = Aim(
    EditOp.BRIGHTNESS, (),
    seen=("fix {the} brightness{of}", "correct {the} exposure{of}", "correct {the} brightness{of}",
          "adjust {the} exposure{of}", "set {the} brightness{of} right", "get {the} exposure{of} right",
          "fix {the} lighting{of}", "adjust {the} lighting{of}", "balance {the} brightness{of}",
          "{the} brightness{of} is wrong", "{the} exposure{of} is off", "{it} is badly exposed",
          "normalize {the} brightness{of}", "make {the} exposure{of} correct"),
    held=("fix {the} exposure{of}", "correct {the} lighting{of}", "adjust {the} brightness{of}",
          "get {the} brightness{of} right", "{the} exposure{of} is wrong", "balance {the} lighting{of}"),
)  # fmt: skip
"""The brightness that makes the mean of V .55."""

RAISING = ("increase", "raise", "boost", "turn up", "bring up", "push up", "enhance", "improve", "dial up")
LOWERING = ("decrease", "reduce", "lower", "turn down", "bring down", "cut", "drop", "pull down", "dial down")
BETTERING = ("enhance", "improve")
GOOD = ("brightness", "contrast", "saturation", "{colour}", "{colours}", "sharpness")
"""What can be bettered; the rest can only be raised."""
ALWAYS_SEEN = {
    ("increase", "brightness"), ("decrease", "brightness"), ("enhance", "{colour}"), ("decrease", "{colour}"),
    ("improve", "contrast"), ("reduce", "contrast"), ("increase", "saturation"), ("reduce", "saturation"),
}  # fmt: skip
"""Requests by which T2ONet's variance is measured, with ``brightness {amount}``."""
MAKING = ("make {it} {what}", "get {it} {what}", "i want {it} {what}", "i want {it} to be {what}",
          "{it} should be {what}", "{it} could be {what}", "i would like {it} {what}", "can {it} be {what}",
          "{what}", "{what} please")  # fmt: skip
MAKING_HELD = ("i need {it} {what}", "{it} needs to be {what}", "i would like {it} to be {what}",
               "let {it} be {what}")  # fmt: skip
GIVING = ("give {it} {what}", "i want {what}", "{it} needs {what}", "{it} could use {what}", "i would like {what}",
          "let {it} have {what}", "{it} should have {what}", "{what}", "{what} please")  # fmt: skip
GIVING_HELD = ("i need {what}", "i want {it} to have {what}", "{it} could have {what}")
SAYING = ("{it} is", "{it} looks", "{it} seems")
MISSING = ("{it} is not", "{it} does not look", "{it} does not seem")
TOO_LITTLE = (
    "there is not enough",
    "there is {too} too little",
    "{it} has {too} too little",
    "{it} does not have enough",
)
TOO_MUCH = ("there is {too} too much", "{it} has {too} too much")
PLEASE = ("please", "can you", "could you", "i want you to", "i would like you to", "i need you to")
"""Before a phrase that begins with a verb."""
PLEASE_HELD = ("could you please", "can you please", "i would like you to please")
