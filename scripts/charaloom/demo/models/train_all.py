"""Trains everything of the demo that has weights: the base models, the picture models, the classifier of previews.

    python -m charaloom.demo.models.train_all

All save and continue, so the command can be stopped and given again. State lies in work/demo-weights, the weights that
are committed in resources/demo.
"""

from charaloom.demo.models import train_base, train_classifier, train_picture_models


def main() -> None:
    train_base.main()
    train_picture_models.main([])
    train_classifier.main([])


if __name__ == "__main__":
    main()
