#!/usr/bin/env python3
"""Fuzzes for a while: run.py SEEDS FUZZER SECONDS, the programs that write the first inputs and that take them.

An input that fails is left in the folder that this is called in."""
import subprocess
import sys
import tempfile
from pathlib import Path

seeds, fuzzer, seconds = sys.argv[1:]
with tempfile.TemporaryDirectory(prefix="spnet-fuzz-") as folder:
    subprocess.run([seeds, folder], check=True)
    sys.exit(subprocess.run([fuzzer, f"-max_total_time={seconds}", "-max_len=1048576", "-rss_limit_mb=2048", "-timeout=20",
                             "-print_final_stats=1", f"-artifact_prefix={Path(fuzzer).name}-", folder]).returncode)
