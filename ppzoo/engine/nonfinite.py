"""Where numbers went wrong: which layer was the first to answer something that is not finite."""

from __future__ import annotations

import paddle


def first_nonfinite_layer(model: paddle.nn.Layer, images: paddle.Tensor) -> str | None:
    """Name of the first layer of `model` whose output for `images` is not finite; None if there is none.

    The forward pass is made again, in the model's present mode; running statistics take it in.
    """
    found: list[str] = []

    def watch(name: str):
        def hook(layer, inputs, output) -> None:
            if not found and isinstance(output, paddle.Tensor) and not bool(paddle.isfinite(output).all()):
                found.append(name)

        return hook

    leaves = [(name, layer) for name, layer in model.named_sublayers() if not layer.sublayers()]
    handles = [layer.register_forward_post_hook(watch(name)) for name, layer in leaves]
    try:
        with paddle.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else None
