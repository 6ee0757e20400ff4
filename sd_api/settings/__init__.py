"""The configuration: ``config.json``, the environment and the command line as one validated value."""

from sd_api.settings.config_file import load_settings
from sd_api.settings.models import CustomModel, ModelSettings
from sd_api.settings.schema import Cluster, Limits, Settings

__all__ = ["Cluster", "CustomModel", "Limits", "ModelSettings", "Settings", "load_settings"]
