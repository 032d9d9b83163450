"""Train LESRCNN to enlarge by 3: python x3/train.py --help"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from solver.training.command import train_main  # noqa: E402

if __name__ == "__main__":
    train_main(scale=3)
