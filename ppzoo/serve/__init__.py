"""An HTTP service for exported networks; running it needs the extra `serve` (FastAPI and uvicorn)."""

from ppzoo.serve.options import Limits, ServiceOptions

__all__ = ["Limits", "ServiceOptions"]
