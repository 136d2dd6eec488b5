# SPDX-License-Identifier: Apache-2.0
"""What words of requests to edit a photograph mean, as data for :mod:`ldie.tasks.editing.words.rule_parser`.

From how people ask for edits in general; no data set's sentences went into it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace


class Role(enum.Enum):
    """What a word does in a request."""

    QUALITY = "names what can be more or less: brightness"
    VERB = "changes a quality by itself: brighten"
    ADJECTIVE = "says how a picture is or shall be: dark, darker"
    NOUN = "names something that there can be much of: darkness, noise"
    LOOK = "makes a noun of the adjective before it: tint"
    DIRECTION = "more or less of what it goes with: increase, down"
    DEGREE = "how much: slightly"
    AMOUNT = "how much, in numbers: 20%"
    NOT = "not"
    TOO = "more than is wanted: too"
    ENOUGH = "enough"
    IS = "says how something is: is, looks"
    MAKE = "says that what follows is wanted: make, become"
    KEEP = "says that what follows is to stay: without, keep"
    ERASE = "takes something away, a quality or an object: remove"
    ADD = "puts something in, a quality or an object: add"
    CHANGE = "does not say how: fix, adjust"
    IMPOSSIBLE = "is none of the edits: crop"
    BACKGROUND = "the background"
    WHITE = "white"
    JOIN = "begins another part: and"
    FIRST = "its part goes before the others"
    LAST = "its part goes after the others"
    BEFORE = "before"
    AFTER = "after"
    ARTICLE = "belongs to a noun: the, a"
    LINK = "comes before another thing: of, to"
    FILLER = "says nothing of the edit: please, photo"
    UNKNOWN = "no rule knows it"


@dataclass(frozen=True)
class Word:
    """A word or phrase and what it means."""

    text: str
    role: Role
    quality: str = ""
    sign: int = 0
    """1 for more of the quality, -1 for less; 0 where it does not say."""
    level: int = 1
    """0 to 2: a little, ordinary, a lot."""
    amount: float = 0.0
    """In parts of one, of the role ``AMOUNT``."""
    comparative: bool = False
    """Whether it stood as a comparative: brighter."""


NOTHING = (Role.FILLER, Role.LINK)
"""What can be passed over."""
CHANGES = (Role.VERB, Role.ADJECTIVE, Role.NOUN)
"""What says by itself which way a quality goes."""
COLORS: Mapping[str, tuple[float, float, float]] = {
    "warmth": (1.0, 0.0, -1.0),
    "red": (1.0, -0.5, -0.5),
    "green": (-0.5, 1.0, -0.5),
    "blue": (-0.5, -0.5, 1.0),
    "yellow": (0.5, 0.5, -1.0),
    "cyan": (-1.0, 0.5, 0.5),
    "magenta": (0.5, -1.0, 0.5),
    "orange": (1.0, 0.2, -1.0),
    "pink": (0.8, -0.6, 0.2),
    "purple": (0.4, -1.0, 0.6),
}
"""Qualities that are colours: how far red, green and blue go up with them."""
BOTH = frozenset(["warm", "cool", "dim", "blur", "smooth", "mute"])
"""Adjectives or nouns that are verbs where they begin a part."""

# Words between blanks; after them, each behind a bar, phrases.
_QUALITIES = {
    "brightness": "brightness luminance luminosity illumination lighting",
    "exposure": "exposure",
    "lightness": "lightness",
    "contrast": "contrast",
    "saturation": "saturation vibrance vibrancy color colour chroma colorfulness colourfulness",
    "sharpness": "sharpness clarity detail focus definition crispness",
    "hue": "hue",
    "tone": "tone tonality|tone curve",
    "warmth": "temperature|white balance|color temperature|colour temperature|color balance|colour balance|color tone"
    "|colour tone",
}
_VERBS = {
    ("brightness", 1): "brighten lighten illuminate|light up|lift shadows|lift the shadows|open up the shadows"
    "|open the shadows|raise the shadows",
    ("brightness", -1): "darken|deepen shadows|deepen the shadows",
    ("exposure", 1): "overexpose",
    ("exposure", -1): "underexpose",
    ("contrast", -1): "flatten",
    ("saturation", 1): "saturate",
    ("saturation", -1): "desaturate",
    ("sharpness", 1): "sharpen unblur deblur",
    ("sharpness", -1): "soften defocus smoothen",
    ("gray", 1): "decolorize decolourise",
    ("noise", -1): "denoise",
    ("haze", -1): "dehaze defog",
}
_ADJECTIVES = {
    ("brightness", 1): "bright light luminous radiant glowing overexposed|over exposed|blown out",
    ("brightness", -1): "dark dim gloomy shadowy murky underexposed|under exposed",
    ("contrast", 1): "contrasty contrasted dramatic harsh",
    ("contrast", -1): "flat",
    ("saturation", 1): "vivid vibrant colorful colourful saturated lively punchy oversaturated|over saturated",
    ("saturation", -1): "dull pale faded mute muted drab lifeless colorless colourless desaturated|washed out",
    ("sharpness", 1): "sharp crisp clear focused defined detailed oversharpened",
    ("sharpness", -1): "soft blurry blurred unsharp fuzzy unclear smooth|out of focus",
    ("warmth", 1): "warm golden",
    ("warmth", -1): "cool cold chilly icy",
    ("gray", 1): "grayscale greyscale monochrome monochromatic gray grey|black and white|black white",
    ("sepia", 1): "sepia",
    ("noise", 1): "noisy grainy",
    ("haze", 1): "hazy foggy misty",
    ("red", 1): "red reddish ruddy",
    ("green", 1): "green greenish",
    ("blue", 1): "blue bluish",
    ("yellow", 1): "yellow yellowish",
    ("cyan", 1): "cyan teal turquoise",
    ("magenta", 1): "magenta",
    ("orange", 1): "orange",
    ("pink", 1): "pink pinkish",
    ("purple", 1): "purple violet",
}
_NOUNS = {
    ("brightness", 1): "sunlight sunshine glare glow highlight overexposure",
    ("brightness", -1): "darkness shadow gloom underexposure",
    ("saturation", -1): "dullness",
    ("sharpness", -1): "blur blurriness softness",
    ("warmth", 1): "warmth",
    ("warmth", -1): "coolness coldness",
    ("noise", 1): "noise grain graininess",
    ("haze", 1): "haze fog mist",
    ("edge", 1): "edge outline",
}
_DIRECTIONS = {
    1: "increase raise boost more enhance improve lift amplify strengthen intensify heighten enrich deepen push bump"
    " lack lacking insufficient restore maximize maximise extra additional up high strong intense deep rich better"
    " higher stronger deeper richer|turn up|bring up|bring out|pump up|crank up|bump up|bring back|not enough"
    "|too little|could use",
    -1: "decrease reduce less lower lessen weaken minimize minimise drop cut diminish weaker fewer counteract down low"
    " weak|too much|tone down|turn down|bring down|dial down|dial back|cut back|cut down",
}
_DEGREES = {
    0: "slightly slight somewhat gently subtly subtle marginally faintly minimally tad touch hint bit little lightly"
    "|a bit|a little|a little bit|little bit|a tad|a touch|a hint|a hint of|just a bit|a small amount|not too much"
    "|not much",
    1: "moderately moderate fairly quite rather medium reasonably|a fair amount",
    2: "much lot lots strongly significantly significant greatly heavily extremely very drastically drastic"
    " considerably dramatically substantially way really far highly super hugely intensely immensely extreme massively"
    "|a lot|a lot of|a great deal|by far|as much as possible|a whole lot|very much|so much",
}
_ROLES = {
    Role.LOOK: "tint cast tinge shade look feel vibe mood effect",
    Role.NOT: "not no isn't aren't don't doesn't didn't won't never neither nor cannot can't",
    Role.TOO: "too overly excessively",
    Role.ENOUGH: "enough sufficiently",
    Role.IS: "is are was were looks seem appear it's",
    Role.MAKE: "make become give get should need must let want require ensure|so that|to look",
    Role.KEEP: "keep leave maintain preserve retain besides except without|instead of|rather than|not touch"
    "|don't touch|not affect|don't affect",
    Role.ERASE: "remove erase delete eliminate hide wipe|get rid of|take out|take away|cut out|clean up|edit out",
    Role.ADD: "add apply introduce put insert place include",
    Role.CHANGE: "change convert transform fix adjust modify alter correct tweak balance",
    Role.IMPOSSIBLE: "crop rotate flip mirror resize rescale straighten zoom tilt move deform stretch upscale enlarge"
    " shrink replace swap substitute paste draw write trim warp align merge combine duplicate copy|cut off",
    Role.BACKGROUND: "background backdrop",
    Role.WHITE: "white",
    Role.JOIN: "and but then plus also while with additionally , ; . ! & +|as well as|and then|after that|after this",
    Role.FIRST: "first firstly initially",
    Role.LAST: "finally lastly last eventually",
    Role.BEFORE: "before",
    Role.AFTER: "after afterwards",
    Role.ARTICLE: "the this these those my its his her their our your a an",
    Role.FILLER: "please could can would you i we me it them for at out off be been being image photo picture"
    " photograph pic pics shot scene frame whole entire entirely overall all everything just only kindly level amount"
    " value degree bring take have has had do does will which there here even again filter sure appearance quality"
    " general both each thing help try go well nice nicely time now still thanks percent or one if they some what"
    " turn set edit as so that it'd i'd i'm let's",
    Role.LINK: "to in on of by from into like than",
}  # fmt: skip


def _split(words: str) -> list[str]:
    single, *phrases = words.split("|")
    return [*single.split(), *phrases]


def entries() -> Iterable[Word]:
    """All words and phrases."""
    for role, texts in _ROLES.items():
        yield from (Word(text, role) for text in _split(texts))
    for level, texts in _DEGREES.items():
        yield from (Word(text, Role.DEGREE, level=level) for text in _split(texts))
    for sign, texts in _DIRECTIONS.items():
        yield from (Word(text, Role.DIRECTION, sign=sign) for text in _split(texts))
    for quality, texts in _QUALITIES.items():
        yield from (Word(text, Role.QUALITY, quality) for text in _split(texts))
    for role, signed in ((Role.NOUN, _NOUNS), (Role.ADJECTIVE, _ADJECTIVES), (Role.VERB, _VERBS)):
        for (quality, sign), texts in signed.items():
            yield from (Word(text, role, quality, sign) for text in _split(texts))


WORDS: Mapping[str, Word] = {word.text: word for word in entries()}
"""Each has one meaning."""
_LONGEST = max(text.count(" ") for text in WORDS) + 1
_TOKEN = re.compile(r"[+-]?\d+(?:\.\d+)?\s?%?|[^\W\d_]+(?:'[^\W\d_]+)*|[,;.!&+]")
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "-": " -"})
_ENDINGS = ("'s", "s", "es", "d", "ed", "ing", "r", "er", "st", "est", "ish")


def read_words(text: str) -> list[Word]:
    """The words of a request with their meanings, the longest phrases first; those that no rule knows among them."""
    plain = re.sub(r"(\d)\s+(?:percent|per cent)\b", r"\1%", text.lower().translate(_APOSTROPHES))
    tokens = [token.strip() for token in _TOKEN.findall(plain)]
    words, k = [], 0
    while k < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - k), 0, -1):
            phrase = " ".join(tokens[k : k + length])
            if phrase in WORDS or length == 1:
                words.append(_meaning(phrase))
                k += length
                break
    return words


def _meaning(text: str) -> Word:
    if text[-1].isdigit() or text[-1] == "%":
        return _number(text)
    if text in WORDS:
        return WORDS[text]
    for stem, ending in _stems(text):
        known = WORDS.get(stem)
        comparative = ending in ("r", "er")
        if known is not None and (not comparative or known.role is Role.ADJECTIVE):
            return replace(known, text=text, comparative=comparative)
    return Word(text, Role.UNKNOWN)


def _stems(text: str) -> Iterator[tuple[str, str]]:
    """What a word may be an inflected form of, and the ending."""
    for ending in _ENDINGS:
        stem = text.removesuffix(ending)
        if stem == text or len(stem) < 3:
            continue
        yield stem, ending
        yield stem + "e", ending  # reducing
        if stem[-1] == stem[-2]:
            yield stem[:-1], ending  # dimmer
        if stem[-1] == "i":
            yield stem[:-1] + "y", ending  # blurrier


def _number(text: str) -> Word:
    """``20%`` or, where a sign says that it is an amount, ``+20`` or ``-0.3``; from 1 on they are percent."""
    sign = {"+": 1, "-": -1}.get(text[0], 0)
    if not sign and "%" not in text:
        return Word(text, Role.UNKNOWN)
    value = abs(float(text.rstrip("% ")))
    return Word(text, Role.AMOUNT, sign=sign, amount=value / 100 if "%" in text or value >= 1 else value)
