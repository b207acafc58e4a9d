"""The endpoints of a VAE."""

from typing import Any

from keras_genzoo.models.contract import CLASSES, CODES, IMAGES, LOG_PROB, NOISE, Endpoint, numbers


def contract(model: Any) -> dict[str, Endpoint]:
    """Endpoints by name; a conditional VAE takes `labels` after its images, codes or noise."""
    labels = {"labels": CLASSES} if model.is_conditional else {}
    parameters = {name: numbers("(B, H, W, C)", f"{name} of p(x|z)") for name in model.likelihood.parameter_names}
    q = {name: numbers("(B, latent_dim)", f"{name} of q(z|x)") for name in ("z_mean", "z_log_var")}
    endpoints = {
        "encode": Endpoint({"images": IMAGES, **labels}, q),
        "decode": Endpoint({"z": CODES, **labels}, {"images": IMAGES, **parameters}),
        "reconstruct": Endpoint({"images": IMAGES, **labels}, {"images": IMAGES}),
        "prior_log_prob": Endpoint({"z": CODES}, {"log_prob": LOG_PROB}),
    }
    if not model.prior.is_standard_normal:
        endpoints["generate"] = Endpoint({"noise": NOISE, **labels}, {"images": IMAGES})
    if not model.posterior.is_diagonal:
        endpoints["posterior"] = Endpoint(
            {"images": IMAGES, **labels, "noise": NOISE}, {"z": CODES, "log_prob": LOG_PROB}
        )
    return endpoints
