"""The decimals that count."""

DECIMALS = 4  # of every score that is compared or written: further ones differ between processors


def rounded(score: float) -> float:
    return round(float(score), DECIMALS)
