"""Generators: networks from noise and labels to images."""

from dfkd_tune.distillation.generators._config import (
    CONDITIONINGS,
    GENERATORS,
    Conditioning,
    GeneratorArchitecture,
    GeneratorConfig,
    SpatialAttentionConfig,
)
from dfkd_tune.distillation.generators._generator import (
    Generator,
    build_generator,
    redraw_noisy_layer,
    restart_generator,
)
from dfkd_tune.distillation.generators._upsampling import UpsampledConvolution

__all__ = [
    "CONDITIONINGS",
    "GENERATORS",
    "Conditioning",
    "Generator",
    "GeneratorArchitecture",
    "GeneratorConfig",
    "SpatialAttentionConfig",
    "UpsampledConvolution",
    "build_generator",
    "redraw_noisy_layer",
    "restart_generator",
]
