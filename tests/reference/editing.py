"""References of the editing family: NumPy in float64, one image at a time, through HSV and HSL where they are meant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rgb_to_hsv(x: Array) -> tuple[Array, Array, Array]:
    """H in [0, 1), S and V of an image [3, ...]; the hue of grey is 0, the saturation of black is 0."""
    r, g, b = x
    value, least = x.max(0), x.min(0)
    chroma = value - least
    safe = np.where(chroma > 0, chroma, 1)
    sixths = np.select([r == value, g == value], [(g - b) / safe, 2 + (b - r) / safe], 4 + (r - g) / safe)
    return (sixths / 6) % 1, np.where(value > 0, chroma / np.where(value > 0, value, 1), 0), value


def hsv_to_rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """The table of six sectors, as everywhere."""
    sector = np.floor(hue * 6)
    part = hue * 6 - sector
    p, q, t = (value * (1 - saturation * each) for each in (np.ones_like(part), part, 1 - part))
    rows = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    return np.stack([np.choose(sector.astype(int) % 6, [row[c] for row in rows]) for c in range(3)])


def luminance(x: Array) -> Array:
    return 0.27 * x[0] + 0.67 * x[1] + 0.06 * x[2]


def brightness(x: Array, p: Array) -> Array:
    hue, saturation, value = rgb_to_hsv(x)
    return hsv_to_rgb(hue, saturation, np.clip(value * (1 + p[0]), 0, 1))


def contrast(x: Array, p: Array) -> Array:
    light = np.clip(luminance(x), 0, 1)
    other = x * ((1 - np.cos(np.pi * light)) / 2 / (light + 1e-6))
    return x + p[0] * (other - x)


def saturation(x: Array, p: Array) -> Array:
    hue, old, value = rgb_to_hsv(x)
    return hsv_to_rgb(hue, np.clip(old * (1 + p[0]), 0, 1), value)


def curve(x: Array, weights: Array) -> Array:
    return sum(np.clip(x - i / 8, 0, 1 / 8) * weights[i] for i in range(8)) * 8 / weights.sum()


def color_curve(x: Array, p: Array) -> Array:
    return np.stack([curve(x[c], p[8 * c : 8 * c + 8]) for c in range(3)])


def tone_curve(x: Array, p: Array) -> Array:
    return curve(x, p[:8])


def exposure(x: Array, p: Array) -> Array:
    return x * 2 ** p[0]


def black_white(x: Array, p: Array) -> Array:
    return (1 - p[0]) * x + p[0] * luminance(x)


def white_balance(x: Array, p: Array) -> Array:
    return x * p[:3].reshape(3, *[1] * (x.ndim - 1))


def hue(x: Array, p: Array) -> Array:
    old, saturation, value = rgb_to_hsv(x)
    return hsv_to_rgb((old + p[0]) % 1, saturation, value)


def colorize(x: Array, p: Array) -> Array:
    old, saturation, value = rgb_to_hsv(x)
    return hsv_to_rgb(np.full_like(old, p[0] % 1), saturation, value)


def lightness(x: Array, p: Array) -> Array:
    """HSL: m = L - C / 2, C = (1 - |2 L - 1|) S; the saturation of black and white is 0."""
    value, least = x.max(0), x.min(0)
    light, chroma = (value + least) / 2, value - least
    room = 1 - np.abs(2 * light - 1)
    saturation = np.where(room > 0, chroma / np.where(room > 0, room, 1), 0)
    after = np.clip(light * (1 + p[0]), 0, 1)
    new_chroma = (1 - np.abs(2 * after - 1)) * saturation
    full = hsv_to_rgb(rgb_to_hsv(x)[0], np.ones_like(light), np.ones_like(light))  # the hue at S = V = 1
    return after - new_chroma / 2 + new_chroma * full


def color_bg(x: Array, p: Array) -> Array:
    return np.ones_like(x)


def filtered(x: Array, kernel: list[list[float]], mode: str) -> Array:
    """Each channel correlated with a 3 x 3 kernel; np.pad's modes say what is beyond the border."""
    height, width = x.shape[-2:]
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)], mode)  # type: ignore[call-overload]
    terms = [kernel[i][j] * padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(sum(terms))


def sharpness(x: Array, p: Array) -> Array:
    return x + p[0] * filtered(x, [[0, -1, 0], [-1, 4, -1], [0, -1, 0]], "constant")


def blur(x: Array, p: Array) -> Array:
    weights = np.exp([[-(i * i + j * j) / (2 * 2.0**2) for j in (-1, 0, 1)] for i in (-1, 0, 1)])
    return (1 - p[0]) * x + p[0] * filtered(x, (weights / weights.sum()).tolist(), "constant")


def edge(x: Array, p: Array) -> Array:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4
    slopes = [filtered(x, each.tolist(), "edge") for each in (kernel, kernel.T)]
    return (1 - p[0]) * x + p[0] * np.hypot(*slopes)


OPERATORS: dict[str, Callable[[Array, Array], Array]] = {
    "BRIGHTNESS": brightness,
    "CONTRAST": contrast,
    "SATURATION": saturation,
    "COLOR_CURVE": color_curve,
    "TONE_CURVE": tone_curve,
    "EXPOSURE": exposure,
    "BLACK_WHITE": black_white,
    "WHITE_BALANCE": white_balance,
    "HUE": hue,
    "LIGHTNESS": lightness,
    "COLOR_BG": color_bg,
    "COLORIZE": colorize,
    "SHARPNESS": sharpness,
    "BLUR": blur,
    "EDGE": edge,
}


def apply_edits(x: Array, steps: list[tuple[str, Array, Array | None]]) -> Array:
    """One image [3, ...] under steps (operator, parameters, mask): blended first, clamped last."""
    for name, params, mask in steps:
        if name == "NONE":
            continue
        edited = OPERATORS[name](x, params)
        if mask is None:
            x = np.clip(edited, 0, 1)
        else:
            x = np.where(mask == 0, x, np.clip(mask * edited + (1 - mask) * x, 0, 1))
    return x
