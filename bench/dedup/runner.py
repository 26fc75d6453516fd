"""Runs the programs of bench/dedup, as those of bench/memory are run."""
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()
os.environ.setdefault("PAGODA_BENCHES", str(HERE.parents[2] / "build/bench/dedup"))
sys.path.insert(0, str(HERE.parents[1] / "memory"))
from programs import Report, column, run  # noqa: E402, F401  pylint: disable=unused-import,wrong-import-position
