"""An HTTP service for exported networks; needs the extra `serve` (FastAPI and uvicorn)."""

from ppzoo.serve.limits import Limits
from ppzoo.serve.server import ServiceOptions, serve

__all__ = ["Limits", "ServiceOptions", "serve"]
