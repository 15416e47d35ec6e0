"""`dataset.cache`: decoded images that are kept for later epochs, in memory or on the disk."""

from ppzoo.data.cache.cached_images import CachedImages, CacheKind

__all__ = ["CacheKind", "CachedImages"]
