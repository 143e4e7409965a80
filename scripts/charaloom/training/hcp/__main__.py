"""`python -m charaloom.training.hcp --cfg config.py`: one training, in the folder it is started in."""

import argparse

from charaloom.training.hcp.process import train_here

arguments = argparse.ArgumentParser()
arguments.add_argument("--cfg", required=True)
train_here(arguments.parse_args().cfg)
