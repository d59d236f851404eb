"""Which ops an export holds, and which of them a stock server refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kbert.savedmodel.stock_ops import NAMES

# kind of op -> what is wrong with it
_REFUSED = (
    (r"TFText>.*", "an op of TensorFlow Text that stock servers lack"),
    (r"(Eager)?PyFunc(Stateless)?", "it calls Python"),
    (
        r"ReadFile|WriteFile|(Experimental)?MatchingFiles(Dataset)?|PrintV2|FileSystem.*"
        r"|.*Reader(V2)?|.*SummaryWriter|CreateSummary.*|Rpc.*|.*DataService.*"
        r"|(Experimental)?(TextLine|TFRecord|FixedLengthRecord|CSV|Sql|LMDB)Dataset(V2)?"
        r"|(Experimental)?DatasetToTFRecord",
        "it reaches files or the network",
    ),
    (r"_?Xla.*", "XLA is off in stock servers"),
)


def nodes_of(proto: Any) -> Iterator[tuple[str, Any]]:
    """(where, node) of every node of a SavedModel, those of its functions included."""
    for meta in proto.meta_graphs:
        for node in meta.graph_def.node:
            yield "the graph", node
        for function in meta.graph_def.library.function:
            for node in function.node_def:
                yield function.signature.name, node


def ops_of(proto: Any) -> set[str]:
    """Names of all ops in the graph and in its functions.

    Args:
        proto: a SavedModel protobuf.
    """
    return {node.op for _, node in nodes_of(proto)}


def refused(proto: Any) -> list[str]:
    """What a stock server would not run, one line an offender; empty if there is none.

    Args:
        proto: a SavedModel protobuf.
    """
    found = []
    functions = {
        function.signature.name
        for meta in proto.meta_graphs
        for function in meta.graph_def.library.function
    }
    for op in sorted(ops_of(proto) - functions):
        reason = next((text for rule, text in _REFUSED if re.fullmatch(rule, op)), None)
        if reason is None and op not in NAMES:
            reason = "TensorFlow 2.20 and its server do not know it"
        if reason:
            found.append(f"op {op}: {reason}")
    compiled = {where for where, node in nodes_of(proto) if node.attr["_XlaMustCompile"].b}
    for meta in proto.meta_graphs:
        for function in meta.graph_def.library.function:
            if function.attr["_XlaMustCompile"].b:
                compiled.add(function.signature.name)
    found += [f"jit_compile in {where}: XLA is off in stock servers" for where in sorted(compiled)]
    return found
