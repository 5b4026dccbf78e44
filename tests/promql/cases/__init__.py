"""The tables of cases; importing this package fills `topic.TOPICS`."""

from cases import (  # noqa: F401
    aggregation,
    counters,
    errors,
    histograms,
    labels,
    modifiers,
    operators,
    over_time,
    values,
)
