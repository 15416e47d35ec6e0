"""The section `Arch`: one network, or the networks of a distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, TypeVar

from ppzoo.config.section import COMPONENT_OPTION, ComponentSpec, Members, Section
from ppzoo.config.value_types import Count
from ppzoo.files import PathText

NetworkT = TypeVar("NetworkT", bound="NetworkConfig")

DEFAULT_STUDENT = "Student"  # the default name of the network of a distillation that is used after training


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Section):
    """A network: its architecture, and the keys that all architectures share.

    Attributes:
        pretrained: true for the official weights, or a path or URL.
        use_ssld: use the official weights that PaddleClas trained by distillation.
        class_num: number of classes; if it is missing, training uses the number in the training data.
        in_channels: channels of the images; the architecture's default (3) if None.
    """

    spec: ComponentSpec
    pretrained: bool | PathText | None = False
    use_ssld: bool = False
    class_num: int | None = field(default=None, metadata=COMPONENT_OPTION)
    in_channels: Count | None = None

    @property
    def name(self) -> str:
        """Name of the architecture."""
        return self.spec.name

    def with_class_num(self: NetworkT, class_num: int | None) -> NetworkT:
        """Return the network with another number of classes."""
        return replace(self, class_num=class_num)


@dataclass(frozen=True, kw_only=True)
class ArchConfig(NetworkConfig):
    """`Arch`: the network.

    Attributes:
        use_sync_bn: synchronize batch statistics between processes.
        freeze: true to train the head only, or shell patterns of the parameter names to freeze.
        infer_add_softmax: exports always return probabilities; false is an error, except with `Global.use_multilabel`.
        infer_output_key: not supported: the output of an inner layer.
    """

    use_sync_bn: bool = False
    freeze: bool | tuple[str, ...] = False
    infer_add_softmax: bool = True
    infer_output_key: str | None = None

    @property
    def deployed(self) -> NetworkConfig:
        """The network that is used after training."""
        return self

    @property
    def deployed_name(self) -> str | None:
        """Name of the deployed network among several; None for a single network."""
        return None

    @property
    def deployed_prefix(self) -> str:
        """Prefix of the names of the deployed network's weights in a checkpoint."""
        return ""


@dataclass(frozen=True, kw_only=True)
class MemberConfig(NetworkConfig):
    """A network of `Arch.models`.

    Attributes:
        return_patterns: attribute paths of inner layers, whose outputs losses can use.
        return_stages: has no effect; the layers must be in `return_patterns`.
    """

    return_patterns: tuple[str, ...] | None = None
    return_stages: bool | tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(ArchConfig):
    """`Arch` of an architecture that holds several networks, one of which is used after training.

    Attributes:
        models: the networks by name.
        pretrained_list: weights of each network; null keeps `pretrained` of that network.
        freeze_params_list: whether each network is frozen.
        infer_model_name: the network that is used after training.
        class_num: number of classes of the networks that do not set `class_num` themselves.
    """

    models: Annotated[Mapping[str, MemberConfig], Members("arch", MemberConfig)] = field(metadata=COMPONENT_OPTION)
    pretrained_list: tuple[PathText | bool | None, ...] | None = field(default=None, metadata=COMPONENT_OPTION)
    freeze_params_list: tuple[bool, ...] | None = field(default=None, metadata=COMPONENT_OPTION)
    infer_model_name: str = field(default=DEFAULT_STUDENT, metadata=COMPONENT_OPTION)
    class_num: Count | None = field(default=None, metadata=COMPONENT_OPTION)

    @property
    def networks(self) -> dict[str, MemberConfig]:
        """The networks by name, with the `class_num` and `in_channels` of `Arch` where a network does not set them."""
        return {
            name: replace(
                network,
                class_num=self.class_num if network.class_num is None else network.class_num,
                in_channels=self.in_channels if network.in_channels is None else network.in_channels,
            )
            for name, network in self.models.items()
        }

    @property
    def features(self) -> dict[str, tuple[str, ...]]:
        """Attribute paths of the inner layers whose outputs each network returns."""
        return {name: network.return_patterns or () for name, network in self.models.items()}

    @property
    def deployed(self) -> NetworkConfig:
        return self.networks[self.infer_model_name]

    @property
    def deployed_name(self) -> str:
        return self.infer_model_name

    @property
    def deployed_prefix(self) -> str:
        return f"{self.infer_model_name}."
