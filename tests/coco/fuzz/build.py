# SPDX-License-Identifier: Apache-2.0
"""Builds the fuzz target of csrc/host and runs it: ``PYTHONPATH=tests python tests/coco/fuzz/build.py 600``."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CORPUS = HERE.parent / "corpus" / "native.txt"
FLAGS = ["-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math",
         "-fno-sanitize-recover=all", "-pthread", f"-I{ROOT / 'csrc'}"]  # fmt: skip
PYTHON = {"mask_module.cpp", "module.cpp", "python_rle.cpp"}
NATIVE = sorted(path for path in (ROOT / "csrc" / "host").glob("*.cpp") if path.name not in PYTHON)


def build(name: str, compiler: str, sanitizers: str, *sources: Path) -> Path:
    """Compiles the target with AddressSanitizer and UndefinedBehaviorSanitizer, if anything changed since.

    Args:
        name: of the program.
        compiler: g++ or clang++.
        sanitizers: for ``-fsanitize``.
        sources: more than the target and the native code.

    Returns:
        The program, in ``build/fuzz``.

    Raises:
        RuntimeError: It does not compile; the message holds the compiler's output.
    """
    headers = sorted([*HERE.glob("*.h"), *ROOT.glob("csrc/*/*.h")])
    inputs = [Path(__file__), *headers, HERE / "target.cpp", *NATIVE, *sources]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()[:16]
    program = ROOT / "build" / "fuzz" / f"{name}-{digest}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")  # test processes may build at the same time
        command = [compiler, *FLAGS, f"-fsanitize={sanitizers}", *NATIVE, HERE / "target.cpp", *sources]
        done = subprocess.run([*command, "-o", unfinished], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler} failed:\n{done.stdout}")
        unfinished.replace(program)
    return program


def replay_program() -> Path:
    """The program that runs a corpus without a fuzzer."""
    return build("replay", "g++", "address,undefined", HERE / "replay.cpp")


def fuzz(seconds: int) -> None:
    """Fuzzes from the corpus and the seeds, then leaves the seeds and what else covers as much in the corpus."""
    from coco.fuzz.seeds import seeds

    program = build("fuzzer", "clang++", "fuzzer,address,undefined")
    found, least = ROOT / "build" / "fuzz" / "found", ROOT / "build" / "fuzz" / "least"
    for folder in (found, least):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    kept = [bytes.fromhex(line) for line in CORPUS.read_text().split()] if CORPUS.exists() else []
    for data in [*kept, *seeds()]:
        (found / hashlib.sha1(data).hexdigest()).write_bytes(data)
    limits = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=600", f"-artifact_prefix={found.parent}/"]
    subprocess.run([program, f"-max_total_time={seconds}", *limits, "-print_final_stats=1", found], check=True)
    subprocess.run([program, "-merge=1", *limits, least, found], check=True)
    CORPUS.parent.mkdir(exist_ok=True)
    inputs = {*seeds(), *(path.read_bytes() for path in least.iterdir())}
    CORPUS.write_text("".join(f"{data.hex()}\n" for data in sorted(inputs)))


if __name__ == "__main__":
    fuzz(int(sys.argv[1]))
