"""Enlarge pictures by any --scale, with the weights that ship for it: python tcw_sample.py --help"""

from solver.sampling.command import sample_main, sample_parser

if __name__ == "__main__":
    sample_main(weights=sample_parser(2).parse_known_args()[0].scale)
