"""Walks over the tree of a query, and smaller trees of a tree."""

import copy
from dataclasses import fields, is_dataclass

from syntax import INSTANT, SCALAR, Aggregate, Binary, Call, Matching, Refused, Selector, Subquery, check


def walk(node):
    """A node and all below it."""
    yield node
    for child in below(node):
        yield from walk(child)


def below(node):
    if isinstance(node, Call):
        return list(node.args)
    names = ("lhs", "rhs", "expr", "param", "selector")
    return [getattr(node, name) for name in names if is_dataclass(getattr(node, name, None))]


def kind(tree):
    try:
        return check(tree)
    except Refused:
        return None


def smaller(tree):
    """Trees with less in them: a part for the whole, a part for one of its ancestors, without a modifier."""
    for part in walk(tree):
        if part is not tree and kind(part) in (INSTANT, SCALAR, None):
            yield copy.deepcopy(part)
    nodes = list(walk(tree))
    for i, node in enumerate(nodes):
        for part in below(node):
            if node is not tree and kind(part) == kind(node):
                yield replaced(tree, i, part)
        for f in fields(node):
            plainer = plain_value(node, f.name)
            if plainer is not NotImplemented:
                changed = copy.deepcopy(tree)
                setattr(list(walk(changed))[i], f.name, plainer)
                yield changed


def plain_value(node, name):
    """A simpler value of a field, or NotImplemented."""
    value = getattr(node, name)
    match node, name:
        case (Selector() | Subquery(), "offset" | "at") if value is not None:
            return None
        case Selector(), "matchers" if len(value) > 1:
            return value[:-1]
        case Aggregate(), "labels" if value:
            return value[:-1]
        case Binary(), "matching" if value.include:
            return Matching(value.on, value.labels, value.group)
        case Binary(), "bool" if value and kind(node) == INSTANT:
            return False
    return NotImplemented


def replaced(tree, at, part):
    """The tree with node number `at` of its walk replaced."""
    part, changed = copy.deepcopy(part), copy.deepcopy(tree)
    target = list(walk(changed))[at]
    for node in walk(changed):
        if isinstance(node, Call):
            node.args = [part if arg is target else arg for arg in node.args]
        for f in fields(node):
            if getattr(node, f.name) is target:
                setattr(node, f.name, part)
    return changed


