"""What is done with a network: training, sampling, measuring, reading and writing weights."""

import os

# Large tensors on the CPU in huge pages, which torch decides on when it first makes one: without, the system hands
# them out in pieces of 4 KiB, between all layers anew, and takes up to a fifth of the time for it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
