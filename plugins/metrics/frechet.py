"""Fréchet distance in the features of a small classifier of the data set; not FID."""

from __future__ import annotations

from collections.abc import Mapping

from ganbench import Metric, Scene, Value, frechet_distance, hookimpl


def fd_classifier(scene: Scene) -> Mapping[str, Value]:
    """Compare the embeddings of generated and reference images."""
    assert scene.fake.embedding is not None and scene.real.embedding is not None
    distance = frechet_distance(scene.fake.embedding, scene.real.embedding)
    return {"fd-classifier": Value(distance, {"statistics": "mean and covariance with 1/(n-1), float64"})}


@hookimpl
def ganbench_metrics() -> list[Metric]:
    return [
        Metric(
            name="fd-classifier",
            compute=fd_classifier,
            summary="Fréchet distance in the features of a small classifier of the data set; not FID",
            extractor="classifier",
            higher_is_better=False,
            needs=frozenset({"images", "labels"}),
            covariance=True,
        )
    ]
