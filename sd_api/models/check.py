"""What ``--check`` looks at beyond what each start does: the device, the hub, and whether models can be built."""

from sd_api.errors import ConfigurationError, ModelUnavailable
from sd_api.models import hub
from sd_api.models.bounded_files import read_object
from sd_api.models.catalog import CatalogModel, ModelCatalog
from sd_api.models.checkpoint_file import DENOISERS
from sd_api.models.device import DeviceChoice, choose_device
from sd_api.models.loader import check_pipeline
from sd_api.models.pipeline_files import parts
from sd_api.models.safety import check_safety_filter
from sd_api.models.sources import MODEL_INDEX, HubModel, ModelDirectory, ModelSource, parse_part, parse_source
from sd_api.settings import Settings


def find_further_faults(settings: Settings) -> list[str]:
    """Find what would keep the server from making pictures; models are built, and their weights are not read.

    Args:
        settings: valid ones, whose local models have been checked.

    Returns:
        One line for each fault.
    """
    faults: list[str] = []
    try:
        device = choose_device(settings.device, settings.dtype)
    except ConfigurationError as error:
        faults += error.faults
        device = choose_device("cpu", settings.dtype)
    catalog = ModelCatalog(settings)
    models = {"model": catalog.main}
    for index, custom in enumerate(settings.custom_models):
        models[f"custom_models[{index}]"] = catalog.named(custom.url_path)
    for name, model in models.items():
        try:
            _check_model(model, device, settings)
        except ModelUnavailable as error:
            faults.append(f"{name}: {error.message}")
    if (unfiltered := _lacks_filter(models)) is not None:
        try:
            check_safety_filter(hub.token_of(settings))
        except ModelUnavailable as error:
            faults.append(f"{unfiltered}: {error.message}")
    return faults


def _check_model(model: CatalogModel, device: DeviceChoice, settings: Settings) -> None:
    token = hub.token_of(settings)
    source: ModelSource = model.source
    if isinstance(source, HubModel):
        if (folder := hub.cached(source.repo_id, half=True)) is None:
            hub.check_access(source.repo_id, token, settings.limits)
            return
        source = ModelDirectory(folder)
    # What has to be downloaded first can only be asked for.
    base = parse_source(model.settings.base) if model.settings.base else None
    if isinstance(base, HubModel) and hub.cached(base.repo_id, half=True, without=DENOISERS) is None:
        hub.check_access(base.repo_id, token, settings.limits)
        return
    vae = parse_part(model.settings.vae) if model.settings.vae else None
    if isinstance(vae, HubModel) and hub.cached_part(vae.repo_id, half=True) is None:
        hub.check_exists(vae.repo_id, token)
        return
    check_pipeline(source, device, token, settings.limits, model.settings)


def _lacks_filter(models: dict[str, CatalogModel]) -> str | None:
    """The first model whose pictures have to pass a filter that neither it nor the main model brings."""
    if _brings_filter(models["model"].source):
        return None
    needing = (name for name, model in models.items() if model.requires_safety_checker)
    return next((name for name in needing if not _brings_filter(models[name].source)), None)


def _brings_filter(source: ModelSource) -> bool:
    """Whether a model comes with a filter, as far as its files are here."""
    if isinstance(source, HubModel):
        folder = hub.folder_of(source.repo_id)
    else:
        folder = source.path if isinstance(source, ModelDirectory) else None
    if folder is None:
        return False
    library_and_class = dict(parts(read_object(folder / MODEL_INDEX))).get("safety_checker")
    return library_and_class == ("stable_diffusion", "StableDiffusionSafetyChecker")
