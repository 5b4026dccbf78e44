"""Aggregation over time, and the functions that tell when."""

from itertools import product

from cases.counters import GAUGES
from topic import Topic

PLAIN = [f"{name}_over_time" for name in "avg min max sum count stddev stdvar last first present mad".split()]
WHEN = [f"ts_of_{name}_over_time" for name in "min max first last".split()]
SPANS = ["20s", "1m", "2m30s", "5m", "1h"]
ODD = """
    odd{is="nan"} NaNx60
    odd{is="some nan"} 1 NaN 3 NaN 2 NaN NaN 7 7 7 7 NaN
    odd{is="inf"} 1 Inf 2 3 Inf 4 5 6 7 8 9 Inf
    odd{is="both"} Inf -Inf 1 -Inf 2 Inf Inf 3 3 3 -Inf 3
    odd{is="zero"} 0 -0 0 0 0 -0 0 0 0 0 0 0
    odd{is="stale"} 1 2 stale 4 stale stale 5 _ _ 6 stale 3
    odd{is="big"} 1e100 1 -1e100 1 1e100 -1e100 1 1 1e100 1 -1e100 1
    odd{is="huge"} 1.7e308x12
    odd{is="ties"} 3 1 3 1 2 3 1 2 2 3 1 2
"""


def over_time():
    t = Topic("over_time", "<aggregation>_over_time: each series of a window on its own.")
    t.load("30s", GAUGES + ODD)
    for name, span in product(PLAIN, SPANS):
        t.at("5m7s", f"{name}(level[{span}])")
    for name, span in product(PLAIN, ["1m", "3m", "6m"]):
        t.at("5m37s", f"{name}(odd[{span}])")
    for name in PLAIN:
        t.over("7s 12m7s 1m13s", f"{name}(level[2m])")
        t.over("7s 7m7s 50s", f"{name}(odd[90s])")
        t.at("8m7s", f"{name}(level[3m] offset 1m)", f"{name}(level[3m] @ 300)", f"{name}(level[3m:20s])",
             f"{name}(level[5m:])",
             f"{name}((level > 2)[5m:30s])", f"sum({name}(level[2m]))", f"{name}({{is='flat'}}[2m])")
        t.at("8m7s", f"{name}(nothing[3m])", gives="")
        t.fails(f"{name}(level)", f"{name}(level[3m], 1)", f"{name}()", time="8m7s")
    for phi, span in product(["0", "0.25", "0.5", "0.9", "1", "-1", "2", "NaN"], ["1m", "3m", "6m"]):
        t.at("5m37s", f"quantile_over_time({phi}, level[{span}])", f"quantile_over_time({phi}, odd[{span}])")
    t.over("7s 12m7s 1m13s", "quantile_over_time(0.5, level[2m])", "quantile_over_time(time() / 720, level[2m])")
    t.fails("quantile_over_time(level[3m])", "quantile_over_time(level[3m], 0.5)", 'quantile_over_time("x", level[3m])')
    t.say("By hand.")
    t.at("2m7s", 'avg_over_time(level{is="up"}[2m])', gives='{is="up"} 3.75', why="1.5 3 4.5 6.")
    t.at("2m7s", 'stddev_over_time(level{is="up"}[2m])', gives='{is="up"} 1.6770509831248424')
    t.at("2m7s", 'quantile_over_time(0.5, level{is="wave"}[10m])', gives='{is="wave"} 3', why="0 3 5 3 0.")
    t.at("2m7s", 'mad_over_time(level{is="wave"}[10m])', gives='{is="wave"} 2',
         why="The median is 3; the distances 3 0 2 0 3.")
    t.at("5m37s", 'max_over_time(odd{is="some nan"}[6m])', gives='{is="some nan"} 7', why="NaN only if all are.")
    t.at("5m37s", 'min_over_time(odd{is="nan"}[6m])', gives='{is="nan"} NaN')
    t.at("5m37s", 'sum_over_time(odd{is="big"}[6m])', gives='{is="big"} 6',
         why="1e100 and -1e100 cancel; the ones are not lost.")
    t.at("5m37s", 'avg_over_time(odd{is="huge"}[6m])', gives='{is="huge"} 1.7e308', why="Though the sum overflows.")
    t.at("5m37s", 'count_over_time(odd{is="stale"}[6m])', gives='{is="stale"} 6',
         why="Staleness markers are no samples.")
    t.at("5m37s", 'last_over_time(odd{is="ties"}[6m])', gives='odd{is="ties"} 2', why="last and first keep the name.")
    t.at("5m37s", 'first_over_time(odd{is="ties"}[6m])', gives='odd{is="ties"} 3')
    t.at("5m7s", 'last_over_time(odd{is="stale"}[1m])', gives='odd{is="stale"} 6',
         why="At 5:00 stands a marker; 6 at 4:30 is still in the window.")


def when():
    t = Topic("ts_over_time", "ts_of_*_over_time: at which time, in seconds; of equal values the last.")
    t.load("30s", GAUGES + ODD)
    for name, span in product(WHEN, SPANS):
        t.at("5m7s", f"{name}(level[{span}])")
        t.at("5m37s", f'{name}(odd{{is!~".*nan"}}[{span}])')
    for name in WHEN:
        t.over("7s 12m7s 1m13s", f"{name}(level[2m])")
        t.at("8m7s", f"{name}(level[3m] offset 1m)", f"{name}(level[5m:20s])", f"time() - {name}(level[5m])",
             f"{name}(nothing[5m])")
    t.at("5m37s", 'ts_of_max_over_time(odd{is="ties"}[6m])', gives='{is="ties"} 270')
    t.at("5m37s", 'ts_of_min_over_time(odd{is="ties"}[6m])', gives='{is="ties"} 300')
    t.at("5m37s", 'ts_of_first_over_time(odd{is="stale"}[5m])', gives='{is="stale"} 90')
    t.at("5m7s", 'ts_of_last_over_time(odd{is="stale"}[5m])', gives='{is="stale"} 270')
    t.at("5m37s", 'ts_of_max_over_time(odd{is="some nan"}[6m])', gives='{is="some nan"} 300')
    t.at("8m7s", "ts_of_last_over_time(level[5m]) - timestamp(level)")


over_time()
when()
