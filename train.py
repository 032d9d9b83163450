"""Train a network for any --scale, 0 for the blind one: python train.py --help"""

from solver.training.command import train_main

if __name__ == "__main__":
    train_main(scale=2)
