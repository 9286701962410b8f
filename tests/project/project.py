"""What the project's own tests share: where things are, and how to compile a small program against them."""
import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
INCLUDE = ROOT / "include" / "spnet"
COMPILER = shlex.split(os.environ.get("SPNET_COMPILER", "g++"))
OPENMP = shlex.split(os.environ.get("SPNET_OPENMP", ""))


def run(command, **options):
    """Runs a command; a failure raises an AssertionError with everything it printed."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


def pkg_config(*arguments, path=None):
    environment = dict(os.environ)
    if path:
        environment["PKG_CONFIG_PATH"] = str(path)
    return shlex.split(run(["pkg-config", *arguments], env=environment))


def compile_flags():
    """Flags for compiling against this source tree, without OpenMP and optimisation."""
    libraries = pkg_config("--cflags", "eigen3", "xsimd")
    return ["-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}",
            *(flag.replace("-I", "-isystem", 1) for flag in libraries)]
