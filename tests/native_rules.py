# SPDX-License-Identifier: Apache-2.0
"""The laws of csrc/ that a compiler does not know. Each takes the sources, text by path, and returns its breaches."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

CSRC = Path(__file__).resolve().parents[1] / "csrc"
SUFFIXES = {".h", ".cuh", ".cpp", ".cu"}
Sources = dict[str, str]


def read_sources() -> Sources:
    """Every native source, by its path below csrc/, without comments."""
    paths = sorted(path for path in CSRC.glob("*/*") if path.suffix in SUFFIXES)
    return {str(path.relative_to(CSRC)): without_comments(path.read_text()) for path in paths}


def without_comments(text: str) -> str:
    return re.sub(r"//.*", "", text)


def family(path: str) -> str:
    return path.partition("/")[0]


# ---- names live in their family


def namespace_breaches(sources: Sources) -> list[str]:
    """Two structs of one name in one namespace are one to the linker, whichever library each was meant for."""
    found = []
    for path, text in sources.items():
        room = "ldie" if family(path) == "core" else f"ldie::{family(path)}"
        opened = set(re.findall(r"^(?:inline )?namespace (\w[\w:]*) \{", text, re.MULTILINE)) - {"detail", room}
        found += [f"{path} opens {name}: its names belong in {room}" for name in sorted(opened)]
        if family(path) != "core" and "using namespace" in text:
            found.append(f"{path} takes in the names of another family")
    return found


# ---- a suffix says who may include a header


def side(path: str) -> str:
    """Who may see a file: ``cuda``, ``cpu``, ``tensors`` (the tensor side) or ``both`` (math for all)."""
    if path.endswith((".cuh", ".cu")):
        return "cuda"
    if path.endswith(("_cpu.h", "_cpu.cpp")):
        return "cpu"
    return "tensors" if path.endswith(("tensors.h", ".cpp")) else "both"


def includes(text: str) -> list[str]:
    return re.findall(r'^#include "([^"]+)"', text, re.MULTILINE)


def suffix_breaches(sources: Sources) -> list[str]:
    found = []
    for path, text in sources.items():
        if family(path) == "host":  # a module of its own, without tensors and kernels
            continue
        for header in includes(text):
            if header.endswith((".cpp", ".cu")):
                found.append(f"{path} includes {header}, which is compiled by itself")
            if header in sources and side(header) not in ("both", side(path)):
                found.append(f"{path} includes {header}, which is for the {side(header)} side alone")
        if side(path) not in ("tensors", "cpu") and re.search(r"<(?:torch|ATen|c10)/", text):
            found.append(f"{path} includes torch, which only the tensor side and the CPU's threads may")
    return found


# ---- a word is defined once

WORDS = {
    "core/integers.h": (r"\+ ([\w:.<>]+) - 1\) / \1\b|\+ (?:7|15|31|63)\) / (?:8|16|32|64)\b", "ceil_div()"),
    "core/grid.cuh": (
        r"\b65535\b|unsigned\((\w+) < (\w+) \? \1 : \2\)"
        r"|int64_t\(blockIdx\.x\) \* \w+ \+ threadIdx\.x(?! /)|int64_t\(gridDim\.x\) \* \w*Threads\b(?!::)",
        "grid_side(), thread_index() or grid_threads()",
    ),
    "core/reduce.cuh": (r"\b0xffffffffu?\b(?! >>)|kWarpSize = ", "kFullWarp and kWarpSize"),
    "core/instantiate.h": (r"^template (?:void|struct|class) .*;|define LDIE_INSTANTIATE", "LDIE_INSTANTIATE()"),
    "core/limits.h": (
        r"std::numeric_limits<.*>::(?:infinity|quiet_NaN)|\bINFINITY\b|\bNAN\b",
        "kInfinite and kNotANumber",
    ),
}
LEAST_REPEATED = 48  # characters of a function's body; shorter ones say no more than a word does


def word_breaches(sources: Sources) -> list[str]:
    """What has a word in core/ is not spelled out, and no function stands in two files."""
    own = {path: text for path, text in sources.items() if family(path) != "host"}
    found = []
    for home, (pattern, word) in WORDS.items():
        for path, text in own.items():
            if path != home and re.search(pattern, text, re.MULTILINE):
                found.append(f"{path} spells out {word} of {home}")
    bodies = defaultdict(set)
    for path, text in own.items():
        for body in function_bodies(text):
            if len(body) >= LEAST_REPEATED:
                bodies[body].add(path)
    return found + [f"{body} stands in {sorted(paths)}" for body, paths in bodies.items() if len(paths) > 1]


def function_bodies(text: str) -> Iterator[str]:
    """Each ``{...}`` that follows a parameter list at the beginning of a line, white space made one."""
    for match in re.finditer(r"^ *[\w:<>,*& ]*\b\w+\([^;{}]*\)(?: const)? \{", text, re.MULTILINE):
        if not re.match(r" *(?:if|for|while|switch|else)\b", match[0]):
            yield " ".join(text[match.end() - 1 : closing(text, match.end() - 1) + 1].split())


def closing(text: str, start: int) -> int:
    """Where the bracket at ``start`` closes."""
    pair = {"{": "}", "(": ")"}[text[start]]
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == text[start]) - (text[place] == pair)
        if depth == 0:
            return place
    return len(text)


# ---- the tensor side is thin


READ_ON_THE_DEVICE = {"editing/edit_sequences.h"}  # options in tensors, of which any number is defined


def tensor_side_breaches(sources: Sources) -> list[str]:
    """Arguments are aggregates, options come from checked_option() alone, dtypes from one dispatch."""
    options = {name for text in sources.values() for name in re.findall(r"constexpr \w+ last_option\((\w+)\)", text)}
    names = "|".join(sorted(options))
    cast = re.compile(rf"(?<!last_option\()\b(?:{names})\(\w|static_cast<(?:{names})>|\b(?:{names})\{{\w")
    found = []
    for path, text in sources.items():
        if cast.search(text) and path not in READ_ON_THE_DEVICE:
            found.append(f"{path} casts an integer to an enumerator")
        if side(path) != "tensors" or family(path) in ("core", "host"):
            continue
        if re.search(r"^\s*args\.\w+(?:\[.*\])? = ", text, re.MULTILINE):
            found.append(f"{path} fills a struct field by field")
        if re.search(r"^\s*[A-Z]\w+(?:<[\w<>]+>)? args;", text, re.MULTILINE):
            found.append(f"{path} leaves a struct uninitialised")
        if "case ScalarType::" in text:
            found.append(f"{path} has a dispatch of its own")
    return found


# ---- math once


def reach_breaches(sources: Sources) -> list[str]:
    """Every host/device function of a header for both sides is called on both sides, or one of them has its own."""
    own = {path: re.sub(r"(?m)^#define .*(?:\\\n.*)*", "", text) for path, text in sources.items()}
    own = {path: text for path, text in own.items() if family(path) != "host"}
    seen = {path: included(path, own) for path in own}
    functions = {path: shared_functions(text) for path, text in own.items() if side(path) == "both"}
    found = []
    for launcher in ("cpu", "cuda"):
        callers = {path: text for path, text in own.items() if side(path) in (launcher, "tensors")}
        callers |= {path: without_functions(own[path]) for path in functions}
        missing = {(path, name) for path, bodies in functions.items() for name in bodies}
        while reached := {key for key in missing if is_called(*key, callers, seen)}:
            missing -= reached
            for path, name in reached:
                callers[f"{path} {name}"] = functions[path][name]
                seen[f"{path} {name}"] = seen[path] | {path}
        found += [f"{path}: the {launcher} launchers do not reach {name}()" for path, name in sorted(missing)]
    return found


def included(path: str, sources: Sources) -> set[str]:
    """The headers that a file sees, and itself."""
    seen, waiting = {path}, [path]
    while waiting:
        new = {header for header in includes(sources[waiting.pop()]) if header in sources} - seen
        seen |= new
        waiting += new
    return seen


SHARED = re.compile(r"LDIE_HD\b[^;{}()]*?\b(\w+)\(")


def shared_spans(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Name, begin, begin of the parameters and end of every host/device function but operators."""
    for match in SHARED.finditer(text):
        if match[1] == "operator":
            continue
        after = closing(text, match.end() - 1)
        brace = min(place for place in (text.find("{", after), text.find(";", after), len(text)) if place >= 0)
        end = closing(text, brace) if brace < len(text) and text[brace] == "{" else brace
        yield match[1], match.start(), match.end() - 1, end


def shared_functions(text: str) -> dict[str, str]:
    """Parameters and body by name; overloads are one."""
    functions: dict[str, str] = defaultdict(str)
    for name, _, parameters, end in shared_spans(text):
        functions[name] += text[parameters : end + 1] + "\n"
    return functions


def without_functions(text: str) -> str:
    kept, last = [], 0
    for _, begin, _, end in shared_spans(text):
        if begin >= last:
            kept.append(text[last:begin])
            last = end + 1
    return "".join([*kept, text[last:]])


def is_called(header: str, name: str, callers: Sources, seen: dict[str, set[str]]) -> bool:
    call = re.compile(rf"\b{name}\s*[(<{{]")
    return any(header in seen[path] and call.search(text) for path, text in callers.items())
