"""The environment variables that PaddlePaddle's launcher sets for the processes that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ppzoo.errors import ConfigError

SIZE, RANK, ENDPOINTS, OWN = (
    "PADDLE_TRAINERS_NUM",
    "PADDLE_TRAINER_ID",
    "PADDLE_TRAINER_ENDPOINTS",
    "PADDLE_CURRENT_ENDPOINT",
)
VARIABLES = (SIZE, RANK, ENDPOINTS, OWN)
MASTER = "PADDLE_MASTER"
MAX_PORT = 65535


class Launch(NamedTuple):
    """A process of a run: its number, the number of processes, and the address of each (host:port).

    Attributes:
        master: the address of the rendezvous.
    """

    rank: int
    size: int
    endpoints: tuple[str, ...]
    master: str


SINGLE = Launch(0, 1, (), "")


def read_launch(environment: Mapping[str, str]) -> Launch:
    """Read the launcher's variables; return `SINGLE` if none is set, or only PADDLE_TRAINERS_NUM=1.

    Raises:
        ConfigError: some are missing or contradict each other, for instance because another program set them.
    """
    given = {name: environment[name] for name in VARIABLES if name in environment}
    if not given or given == {SIZE: "1"}:
        return SINGLE
    for name in VARIABLES:
        if name not in given:
            raise _inconsistent(given, f"expected {name} together with {', '.join(given)}, got none")
    size = _parse_integer(given, SIZE, 1)
    rank = _parse_integer(given, RANK, 0)
    if rank >= size:
        raise _inconsistent(given, f"{RANK}: expected a number below {SIZE} ({size}), got {rank}")
    endpoints = tuple(given[ENDPOINTS].split(","))
    if len(endpoints) != size:
        raise _inconsistent(given, f"{ENDPOINTS}: expected {size} addresses ({SIZE}), got {given[ENDPOINTS]!r:.200}")
    if endpoints[rank] != given[OWN]:
        raise _inconsistent(given, f"{OWN}: expected {endpoints[rank]!r} ({ENDPOINTS}), got {given[OWN]!r:.200}")
    if len(set(endpoints)) < size:
        raise _inconsistent(given, f"{ENDPOINTS}: expected different addresses, got {given[ENDPOINTS]!r:.200}")
    if size == 1:
        return Launch(rank, size, endpoints, endpoints[0])
    for name, addresses in ((ENDPOINTS, endpoints), (MASTER, (environment.get(MASTER, endpoints[0]),))):
        for address in addresses:
            if not _is_address(address):
                raise _inconsistent({**given, name: ""}, f"{name}: expected HOST:PORT, got {address!r:.200}")
    return Launch(rank, size, endpoints, environment.get(MASTER, endpoints[0]))


def _parse_integer(given: Mapping[str, str], name: str, least: int) -> int:
    text = given[name]
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
        raise _inconsistent(given, f"{name}: expected an integer of at least {least}, got {text!r:.60}")
    return int(text)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= MAX_PORT


def _inconsistent(given: Mapping[str, str], problem: str) -> ConfigError:
    return ConfigError(
        f"{problem}; paddle.distributed.launch sets these variables: start the command with it, or run"
        f" `unset {' '.join(given)}`"
    )
