"""Enlarge pictures by 2 with LESRCNN: python x2/tcw_sample.py --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from solver.sampling.command import sample_main  # noqa: E402

if __name__ == "__main__":
    sample_main(weights=2)
