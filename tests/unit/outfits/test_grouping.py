"""Groups of views that wear the same, from clothing tags and the tagger's embedding."""

import random
from typing import Any

from charaloom.outfits.features import clothes, features
from charaloom.outfits.grouping import group, plane, similarities
from tests.unit.outfits.tagged_views import world


def alike_of(worn: list[dict[str, float]], embeddings: Any = None) -> Any:
    import numpy as np

    empty = np.zeros((len(worn), 0)) if embeddings is None else embeddings
    return similarities(features(worn, [set()] * len(worn), [{}] * len(worn), empty))


def test_neighbourhoods_find_what_density_of_single_views_does_not() -> None:
    """The reason for moving views to their neighbours first; docs/outfits.md has these figures."""
    import numpy as np
    from sklearn.cluster import HDBSCAN
    from sklearn.metrics import adjusted_rand_score

    ours, hdbscan = [], []
    for seed in range(20):
        views, truth = world(seed, 90)
        alike = alike_of([clothes(view) for view in views])
        ours.append(adjusted_rand_score(truth, group(alike, 4)))
        distances = (1 - alike).clip(0).astype(float)
        labels = HDBSCAN(min_cluster_size=4, metric="precomputed", copy=True).fit_predict(distances)
        numbers = sorted(set(labels.tolist()) - {-1})
        if numbers:  # noise to the nearest cluster, as ours
            apart = np.array([distances[:, labels == number].mean(axis=1) for number in numbers])
            labels = np.where(labels < 0, np.array(numbers)[apart.argmin(axis=0)], labels)
        hdbscan.append(adjusted_rand_score(truth, labels))
    assert np.mean(ours) > 0.95
    assert np.mean(ours) > np.mean(hdbscan) + 0.2


def test_outfits_that_share_a_garment_stay_apart() -> None:
    """Sleeves that two thirds of the views show join nothing."""
    import numpy as np

    rng = random.Random(3)
    shapes = [["blue_shirt", "gym_uniform", "short_sleeves", "shorts"], ["yellow_dress", "long_dress", "short_sleeves"]]
    shapes.append(["red_overalls", "striped_shirt"])
    truth = [rng.choices((0, 1, 2), (3, 4, 2))[0] for _ in range(100)]
    worn = [{tag: 0.9 for tag in shapes[kind] if rng.random() < 0.8} for kind in truth]
    labels = group(alike_of(worn), 4)
    assert {
        len({labels[k] for k in np.flatnonzero(np.array(truth) == kind) if labels[k] >= 0}) for kind in range(3)
    } == {1}
    assert len(set(labels.tolist()) - {-1}) == 3


def test_what_few_wear_is_left_unassigned() -> None:
    shapes = [["red_kimono", "sash"]] * 20 + [["blue_dress", "boots"]] * 20 + [["green_armor", "boots"]] * 2 + [[]] * 3
    worn = [clothes({"tags": [{"name": tag, "score": 0.9} for tag in shape]}) for shape in shapes]
    labels = group(alike_of(worn), 4).tolist()
    assert labels[40:] == [-1] * 5
    assert len(set(labels[:40])) == 2


def test_the_embedding_tells_clothes_where_tags_are_silent() -> None:
    """Two views in three show nothing but boots; what the embedding says beyond pose decides."""
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(5)
    truth = np.arange(80) % 2
    pose = rng.random(80) < 0.5
    embeddings = rng.normal(size=(80, 64)) * 0.1
    embeddings[:, 0] += 6 * pose  # much louder than the clothes
    embeddings[:, 1] += 2 * truth
    shown = rng.random(80) < 0.35
    worn = [
        {"boots": 0.8, **({("red_dress", "blue_coat")[k]: 0.9} if s else {})} for k, s in zip(truth, shown, strict=True)
    ]
    others = [{"arms_up": 1.0} if up else {} for up in pose]
    labels = group(similarities(features(worn, [set()] * 80, others, embeddings)), 4)
    assert adjusted_rand_score(truth, labels) > 0.9
    assert adjusted_rand_score(truth, group(alike_of(worn), 4)) < 0.5


def test_the_map_puts_alike_views_together() -> None:
    import numpy as np

    worn = [{"red_kimono": 0.9, "sash": 0.9}] * 20 + [{"blue_dress": 0.9, "boots": 0.9}] * 20
    places = plane(alike_of(worn), 7)
    assert places.shape == (40, 2)
    assert np.abs(places).max() == 1.0
    centres = places[:20].mean(axis=0), places[20:].mean(axis=0)
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * places[:20].std()
    assert np.array_equal(places, plane(alike_of(worn), 7))
