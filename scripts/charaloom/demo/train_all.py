"""Trains everything of the demo that has weights: the base models, then the picture models.

    python -m charaloom.demo.train_all

Both save and continue, so the command can be stopped and given again. State lies in work/demo-weights, the weights that
are committed in resources/demo.
"""

from charaloom.demo import train_base, train_eyes


def main() -> None:
    train_base.main()
    train_eyes.main([])


if __name__ == "__main__":
    main()
