"""The code location: `defs`, built from the environment's settings."""

from co2_assets.orchestration.build import build_definitions
from co2_assets.settings import load_settings

defs = build_definitions(load_settings())
