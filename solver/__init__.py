"""What is done with a network: training, sampling, measuring, reading and writing weights."""
