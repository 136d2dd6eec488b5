"""The race checker against the truth, on random programs of loads, stores, atomics and barriers."""

from __future__ import annotations

import ctypes
import random
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from emulator.harness import planted

LOAD, STORE, ATOMIC_ADD, SYNC_WARP = range(4)
THREADS, WARP, MEMORY_BYTES, QUIET_FROM = 64, 32, 256, 200
PROGRAMS = 2000


class Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("blocks", "threads", "phases", "steps", "in_shared_memory")]


@dataclass(frozen=True)
class Event:
    """One access, with the numbers of the barriers before it."""

    block: int
    thread: int
    phase: int
    syncs: int
    operation: int
    first: int
    last: int


def races(a: Event, b: Event, in_shared_memory: bool) -> bool:
    """CUDA's definition, taken at its word."""
    if a.last < b.first or b.last < a.first:
        return False
    if {a.operation, b.operation} in ({LOAD}, {ATOMIC_ADD}):
        return False
    if a.block != b.block:
        return not in_shared_memory
    ordered = a.thread == b.thread or a.phase != b.phase
    return not (ordered or (a.thread // WARP == b.thread // WARP and a.syncs != b.syncs))


def random_program(rng: random.Random) -> tuple[Shape, np.ndarray, list[Event]]:
    """A program in which a few threads access a few words, and the accesses that count."""
    shape = Shape(rng.randint(1, 3), THREADS, rng.randint(1, 4), rng.randint(1, 5), rng.randint(0, 1))
    words, stores, atomics = rng.randint(1, 48), rng.choice((0.3, 0.05, 0.01)), rng.uniform(0, 0.3)
    active = set(rng.sample(range(THREADS), rng.randint(2, 8)))
    sync_probability = rng.choice((0.0, 0.3))
    sizes = rng.choice(((4,), (1, 2, 4, 8)))
    step = np.dtype([("operation", np.uint8), ("bytes", np.uint8), ("address", np.uint16)])
    steps = np.zeros((shape.blocks, shape.phases, THREADS, shape.steps), step)
    events = []
    for block, phase in np.ndindex(shape.blocks, shape.phases):
        syncs = 0
        for turn in range(shape.steps):
            if rng.random() < sync_probability:
                steps[block, phase, :, turn] = (SYNC_WARP, 0, 0)
                syncs += 1
                continue
            for thread in range(THREADS):
                if thread not in active:  # reads what nobody writes
                    steps[block, phase, thread, turn] = (LOAD, 1, QUIET_FROM + thread % 50)
                    continue
                draw = rng.random()
                operation = STORE if draw < stores else ATOMIC_ADD if draw < stores + atomics else LOAD
                size = 4 if operation == ATOMIC_ADD else rng.choice(sizes)
                address = rng.randrange(words * 4) // size * size
                steps[block, phase, thread, turn] = (operation, size, address)
                events.append(Event(block, thread, phase, syncs, operation, address, address + size - 1))
    return shape, steps, events


def test_random_programs() -> None:
    rng = random.Random(0)
    found = missed = clean = 0
    for _ in range(PROGRAMS):
        shape, steps, events = random_program(rng)
        memory = np.zeros(MEMORY_BYTES // 8, np.uint64)
        error = planted("race").library.program_run(
            steps.ctypes.data_as(ctypes.c_void_p), ctypes.byref(shape), memory.ctypes.data_as(ctypes.c_void_p)
        )
        truth = any(races(a, b, bool(shape.in_shared_memory)) for a, b in combinations(events, 2))
        if error is not None:
            assert truth, f"false alarm: {error.decode()}"
            assert b"data race" in error
        found += truth and error is not None
        missed += truth and error is None
        clean += not truth
    assert found > PROGRAMS // 4 and clean > PROGRAMS // 8, "the programs must hold both kinds"
    assert missed <= found // 100, f"{missed} of {found + missed} races missed"
