#!/usr/bin/env python3
"""Checks that the rooms of include/spnet include only what stands below them.

usage: tools/check_includes.py [ROOT]    ROOT holds include/spnet; default: this repository.
Prints one line a fault and exits with 1 where there is any.
"""
import re
import sys
from pathlib import Path

# room: the rooms it stands on; what those stand on is open to it as well.
ROOMS = {
    "core": [],
    "files": ["core"],
    "kernels": ["core"],
    "tensor": ["core"],
    "ops": ["kernels", "tensor"],
    "runtime": ["ops", "files"],
    "autograd": ["ops"],
    "quant": ["autograd"],
    "nn": ["quant"],
    "optim": ["autograd"],
    "models": ["nn"],
    "data": ["tensor"],
    "io": ["nn", "optim", "files"],
    "pack": ["nn", "runtime"],
    "train": ["models", "optim", "data", "io", "pack"],
    "search": ["train"],
    "prune": ["train"],
    "testing": ["autograd"],
}
# Rooms that users include by name: they bring in more libraries than the core needs, or serve tests only.
OUTSIDE_UMBRELLA = ["io", "testing"]
# What kernels are tested against.
ORACLES = "kernels/reference"

# pattern of an #include <...>: the files or rooms that may have it.
EXTERNAL = {
    r"omp\.h": ["core/parallel.hpp"],
    r"Eigen/.*": ["tensor/eigen.hpp", "tensor/cholesky.hpp"],
    r"xsimd/.*": ["kernels/simd", "ops", "tensor"],
    r"nlohmann/.*": ["io"],
    r"([a-z]mmintrin|x86intrin|cpuid|arm_neon|sys/auxv|asm/hwcap)\.h": ["kernels"],
    r"sys/mman\.h": ["core/memory.hpp", "files"],  # memory in huge pages, and files that are mapped
    r"(fcntl|sys/(stat|types))\.h": ["files", "data"],
    r"(unistd|sys/syscall)\.h": ["files", "data", "kernels/available.hpp"],
}
STANDARD = set("""
    algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits
    clocale cmath compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio
    cstdlib cstring ctime cwchar cwctype deque exception execution filesystem forward_list fstream functional future
    initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource
    mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator semaphore set
    shared_mutex source_location span sstream stack stdexcept stop_token streambuf string string_view syncstream
    system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant
    vector version""".split())

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def rooms_below(room):
    below = set()
    waiting = [room]
    while waiting:
        for lower in ROOMS[waiting.pop()]:
            if lower not in below:
                below.add(lower)
                waiting.append(lower)
    return below


def is_inside(path, places):
    return any(path == place or path.startswith(place + "/") for place in places)


def check_external(path, name):
    for pattern, places in EXTERNAL.items():
        if re.fullmatch(pattern, name):
            if not is_inside(path, places):
                return [f"{path}: <{name}> belongs in {', '.join(places)} only"]
            return []
    return [] if name in STANDARD else [f"{path}: <{name}> is not a header that spnet may use"]


def find_cycle(includes):
    """The files of one cycle of includes, or an empty list."""
    done = set()

    def search(file, path):
        if file in path:
            return path[path.index(file):] + [file]
        if file in done:
            return []
        for target in includes.get(file, []):
            if cycle := search(target, path + [file]):
                return cycle
        done.add(file)
        return []

    for file in includes:
        if cycle := search(file, []):
            return cycle
    return []


def reachable(includes, start):
    found, waiting = set(), [start]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting.extend(includes.get(file, []))
    return found


def check_tree(root):
    """The faults of ROOT/include/spnet, one text each."""
    base = Path(root) / "include" / "spnet"
    files = {file.relative_to(base).as_posix(): file.read_text() for file in sorted(base.rglob("*.hpp"))}
    if not files:
        return [f"{base}: no headers"]
    faults = []
    includes = {}
    for path, text in files.items():
        room = path.split("/")[0] if "/" in path else None
        if room and room not in ROOMS:
            faults.append(f"{path}: {room} is not a room that tools/check_includes.py knows")
            continue
        if "#pragma once" not in text:
            faults.append(f"{path}: #pragma once is missing")
        if re.search(r"^\s*#\s*pragma\s+omp", text, re.MULTILINE) and path != "core/parallel.hpp":
            faults.append(f"{path}: OpenMP belongs in core/parallel.hpp only")
        includes[path] = []
        for own, external in INCLUDE.findall(text):
            if external:
                faults += check_external(path, external)
                continue
            target = own.removeprefix("spnet/")
            if target == own:
                faults.append(f'{path}: "{own}" is not written as "spnet/room/file.hpp"')
            elif target not in files:
                faults.append(f'{path}: "{own}" does not exist')
            else:
                includes[path].append(target)
                target_room = target.split("/")[0] if "/" in target else None
                if room and target_room != room and target_room not in rooms_below(room):
                    faults.append(f'{path}: "{own}" is not below {room}')
    cycle = find_cycle(includes)
    if cycle:
        faults.append("cycle: " + " -> ".join(cycle))
    if "spnet.hpp" in files:
        inside = reachable(includes, "spnet.hpp")
        for path in files:
            room = path.split("/")[0]
            if room in OUTSIDE_UMBRELLA and path in inside:
                faults.append(f"spnet.hpp: brings in {path}, which users include by name")
            elif room not in OUTSIDE_UMBRELLA and path not in inside and not path.startswith(ORACLES):
                faults.append(f"spnet.hpp: does not reach {path}")
    return faults


if __name__ == "__main__":
    root = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = check_tree(root)
    print("\n".join(found) if found else "includes: every arrow points down")
    sys.exit(1 if found else 0)
