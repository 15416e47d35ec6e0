"""Read and write YAML with plain data only: mappings, lists, strings, numbers, booleans and null.

It is stricter than YAML: keys must be unique strings, and tags for other objects are refused, as are documents that are
too long, too deeply nested, have too many values, or become too large through aliases. `1e-5` is a number, unlike in
YAML 1.1; dates and base-60 numbers (`12:30`) are strings. Strings cannot contain NUL or lone surrogates, which are
invalid in paths and on terminals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, NoReturn

import yaml

from ppzoo.errors import ConfigError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
FIX = "check the indentation, quotes and colons"  # of a text that is not YAML
MAX_NODES = 20_000


class Limits(NamedTuple):
    """The largest size of a document in bytes, and the largest number of values."""

    size: int
    values: int


CONFIGURATION_LIMITS = Limits(MAX_BYTES, MAX_NODES)
EXPORT_LIMITS = Limits(8 << 20, 200_000)  # the settings of an export include the names of all classes


class Document(NamedTuple):
    """A parsed document.

    Attributes:
        content: its data.
        anchor_keys: the keys of its mapping whose value has an anchor (`&NAME`), or contains one.
    """

    content: Any
    anchor_keys: frozenset[str] = frozenset()


_INT = r"[-+]?(?:0|[1-9][0-9]*)"
_FLOAT = (
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_ESCAPED = re.compile("[^ -~\xa0-\u2027\u202a-\ufefe\uff00-\U0010ffff]")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")


def _tag(kind: str) -> str:
    return f"tag:yaml.org,2002:{kind}"


_Rules = dict[str, list[tuple[str, re.Pattern[str]]]]
_NUMBERS: _Rules = {
    first: [(_tag("int"), re.compile(rf"(?:{_INT})\Z")), (_tag("float"), re.compile(rf"(?:{_FLOAT})\Z"))]
    for first in "-+.0123456789"
}


def _rules(inherited: _Rules, without: tuple[str, ...] = ()) -> _Rules:
    """Return the rules for the types of unquoted scalars, first character -> (tag, pattern)s: PyYAML's, then ours."""
    dropped = tuple(map(_tag, without))
    table = {first: [rule for rule in rules if rule[0] not in dropped] for first, rules in inherited.items()}
    for first, rules in _NUMBERS.items():
        table[first] = table.get(first, []) + rules
    return table


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = _rules(yaml.SafeLoader.yaml_implicit_resolvers, ("int", "float", "timestamp", "value"))
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}  # filled below
    depth = nodes = 0
    anchored: set[int]  # identities of the nodes with an anchor
    max_nodes = MAX_NODES

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise _error(f"nested deeper than {MAX_DEPTH} levels", self.position())
        if self.nodes > self.max_nodes:
            raise _error(f"more than {self.max_nodes} values", self.position())
        peek_event: Callable[[], Any] = self.peek_event
        event = peek_event()
        has_anchor = event.anchor is not None and not isinstance(event, yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if has_anchor:
            self.anchored.add(id(node))
        self.depth -= 1
        return node

    def position(self) -> Any:
        peek_event: Callable[[], Any] = self.peek_event
        return peek_event().start_mark

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Mark] = {}
        for key, _ in node.value:
            if key.tag == _tag("merge"):
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag != _tag("str"):
                found = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a collection"
                raise _error(f"a key must be a string, got {found} (quote it)", key.start_mark)
            if key.value in seen:
                first = seen[key.value].line + 1
                raise _error(f"duplicate key {key.value!r} (first in line {first})", key.start_mark)
            seen[key.value] = key.start_mark
        return node

    def refuse_tag(self, node: yaml.Node) -> NoReturn:
        raise _error(f"the tag {node.tag} is not allowed: a configuration can only contain plain data", node.start_mark)


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)


def _scalar(kind: str) -> Callable[[_Loader, yaml.ScalarNode], Any]:
    """Wrap PyYAML's constructor of a scalar, so that errors (`!!int x`, `!!int ""`) become YAML errors with a line."""
    construct = yaml.SafeLoader.yaml_constructors[_tag(kind)]

    def read(loader: _Loader, node: yaml.ScalarNode) -> Any:
        try:
            return construct(loader, node)
        except (ValueError, KeyError, IndexError):
            raise _error(f"expected a value of type {kind}, got {node.value[:60]!r}", node.start_mark) from None

    return read


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    if _UNPRINTABLE.search(text):
        raise _error(f"expected printable text, got {text[:60]!r}", node.start_mark)
    return text


_Loader.yaml_constructors = {
    None: _Loader.refuse_tag,
    **{_tag(kind): yaml.SafeLoader.yaml_constructors[_tag(kind)] for kind in ("null", "seq", "map")},
    _tag("str"): _text,
    **{_tag(kind): _scalar(kind) for kind in ("bool", "int", "float")},
}


class _Dumper(yaml.SafeDumper):
    """Quotes the strings that this loader, or a YAML 1.1 loader, would read as another type."""

    yaml_implicit_resolvers = _rules(yaml.SafeDumper.yaml_implicit_resolvers)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        """Escape the characters that YAML treats as line breaks or does not allow."""
        return self.represent_scalar(_tag("str"), data, style='"' if _ESCAPED.search(data) else None)


_Dumper.add_representer(str, _Dumper.text)


def parse(text: bytes | str, source: str, limits: Limits = CONFIGURATION_LIMITS) -> Any:
    """Return the data of one YAML document; the arguments are those of `parse_document`."""
    return parse_document(text, source, limits).content


def parse_document(text: bytes | str, source: str, limits: Limits = CONFIGURATION_LIMITS) -> Document:
    """Parse one YAML document; aliases become copies.

    Args:
        text: the document; bytes are UTF-8, or UTF-16 with a byte-order mark.
        source: its name in error messages, such as the file's path.

    Raises:
        ConfigError: the text is too long, or not the YAML that this module accepts. The message is one line, with the
            number of the line if it is known.
    """
    if len(text) > limits.size:
        raise ConfigError(f"{source}: expected a configuration of at most {limits.size} bytes, got a larger one")
    try:
        loader = _Loader(text)
        loader.max_nodes, loader.anchored = limits.values, set()
        node = loader.get_single_node()
        if node is None:
            return Document(None)
        _check_size(node, limits.values, {}, set())
        anchor_keys = _find_anchor_keys(node, loader.anchored)
        return Document(_copy_aliases(loader.construct_document(node)), anchor_keys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(": ".join(filter(None, (error.context, error.problem))).split())
        if isinstance(error, (yaml.scanner.ScannerError, yaml.parser.ParserError)):
            separator = " " if error.context else ": "  # "an error while parsing a block mapping: ..."
            problem = f"expected valid YAML, got an error{separator}{problem}; {FIX}"
        raise ConfigError(f"{source}, line {mark.line + 1}: {problem}" if mark else f"{source}: {problem}") from None
    except yaml.reader.ReaderError as error:
        if error.encoding == "unicode":
            raise ConfigError(f"{source}: expected YAML, got invalid characters ({error.reason})") from None
        raise ConfigError(
            f"{source}: expected YAML in UTF-8, got other bytes; use a YAML file, or save this one as UTF-8"
        ) from None
    except (ValueError, OverflowError):  # PyYAML does not validate some numbers: "\UFFFFFFFF", %YAML 1.999...
        raise ConfigError(f"{source}: expected YAML, got an invalid escape sequence or YAML version") from None


def is_quoted(text: str) -> bool:
    """Return whether a text, without surrounding spaces, is one quoted YAML string."""
    return _QUOTED.fullmatch(text.strip()) is not None


def ends_in_comment(text: str) -> bool:
    """Return whether a YAML text ends in a comment."""
    content = (yaml.ScalarToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
    ends = [token.end_mark.index for token in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(token, content)]
    return max(ends, default=0) < len(text.rstrip())


def require_text(text: str, source: str) -> None:
    """Refuse text that cannot be part of a configuration.

    Raises:
        ConfigError: it is too long, or has characters that YAML does not allow.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{source}: expected a value of at most {MAX_BYTES} bytes, got a larger one")
    if _UNPRINTABLE.search(text) or yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise ConfigError(f"{source}: expected printable text, got {text[:60]!r}")


def _check_size(node: yaml.Node, limit: int, measured: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """Return number and depth of the nodes in `node`, including itself, after expanding aliases; refuse too many."""
    if isinstance(node, yaml.ScalarNode):
        return 1, 1
    if id(node) in above:
        raise _error("an alias refers to itself", node.start_mark)
    if id(node) not in measured:
        above.add(id(node))
        pairs = isinstance(node, yaml.MappingNode)
        children = [child for pair in node.value for child in pair] if pairs else node.value
        sizes = [_check_size(child, limit, measured, above) for child in children]
        above.remove(id(node))
        nodes = 1 + sum(size for size, _ in sizes)
        depth = 1 + max((depth for _, depth in sizes), default=0)
        if nodes > limit or depth > MAX_DEPTH:
            raise _error(f"with aliases expanded, more than {limit} values or {MAX_DEPTH} levels", node.start_mark)
        measured[id(node)] = nodes, depth
    return measured[id(node)]


def _find_anchor_keys(root: yaml.Node, anchored: set[int]) -> frozenset[str]:
    """Return the keys of a mapping in whose values anchors are defined, not those that contain only their aliases.

    Args:
        anchored: the identities of the nodes with an anchor; an alias of such a node is the same node again.
    """
    owners: dict[int, str] = {}
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        for node in _nodes(value):
            if id(node) in anchored:
                owners.setdefault(id(node), key.value)
    return frozenset(owners.values())


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield a node and all nodes in it."""
    yield node
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for child in pair:
                yield from _nodes(child)
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            yield from _nodes(child)


def _copy_aliases(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy_aliases(item) for key, item in value.items()}
    return [_copy_aliases(item) for item in value] if isinstance(value, list) else value


def dump(config: Any) -> str:
    """Return `config` as YAML that `parse` reads back as the same data, in the same order of keys."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
