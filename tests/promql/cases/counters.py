"""Functions of ranges for counters and gauges: rate and its kin, resets, regressions, smoothing."""

from itertools import product

from topic import Topic

COUNTERS = """
    seen_total{is="steady"} 0+10x60
    seen_total{is="late"} _x10 100+7x40
    seen_total{is="early"} 50+3x8
    seen_total{is="resets"} 0+5x9 3+5x9 1 0 20+8x30
    seen_total{is="holes"} 0 _ _ 9 12 _ 20 _ _ _ 44 50 _ 61 _ 70 _ _ 85 90 _ 95 100
    seen_total{is="flat"} 42x60
    seen_total{is="small"} 1 2 4 7 11 16 22 29 37 46 56 67 79 92 106 121 137 154 172 191 211
    seen_total{is="one"} _x12 5
    seen_total{is="gone"} 3+2x10 stale _x5 7+1x20
    seen_total{is="nan"} 1 2 NaN 4 5 NaN 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22
    seen_total{is="inf"} 1 2 3 4 5 6 7 8 9 10 Inf 12 13 14 15 16 17 18 19 20 21 22
"""
GAUGES = """
    level{is="up"} 0+1.5x60
    level{is="down"} 100-2x60
    level{is="wave"} 0 3 5 3 0 -3 -5 -3 0 3 5 3 0 -3 -5 -3 0 3 5 3 0 -3 -5 -3 0
    level{is="holes"} 5 _ _ 9 7 _ 8 _ _ _ 3 4 _ 6 _ 9 _ _ 2 1 _ 0 -4
    level{is="flat"} -7x60
    level{is="late"} _x10 1+2x40
    level{is="one"} _x12 5
    level{is="nan"} 1 2 3 4 5 NaN 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22
    level{is="inf"} 1 2 3 4 5 6 7 8 9 10 Inf 12 13 14 15 16 17 18 19 20 21 22
    level{is="tiny"} 0+0.001x60
    level{is="vast"} 1e9+1x60
"""
SPANS = ["45s", "1m", "2m30s", "5m", "10m", "1h"]


def over_spans(t, metric, names, times=("5m7s", "10m11s")):
    for name, span, time in product(names, SPANS, times):
        t.at(time, f"{name}({metric}[{span}])")
    for name in names:
        t.over("0s 12m 1m7s", f"{name}({metric}[3m])")
        t.at("8m7s", f"{name}({metric}[3m] offset 1m)", f"{name}({metric}[3m] offset -1m)",
             f"{name}({metric}[3m] @ 400)",
             f"{name}({metric}[3m] @ 400 offset 45s)", f"{name}({metric}[3m:20s])", f"{name}({metric}[3m:])")
        t.at("8m7s", f"{name}(nothing[3m])", gives="")
    for name in names:
        t.fails(f"{name}({metric})", f"{name}()", f"{name}({metric}[3m], 1)", f"{name}(1)")


def rate():
    t = Topic("rate", "rate: the increase of a counter per second, resets added, stretched towards the window's ends.")
    t.load("30s", COUNTERS)
    over_spans(t, "seen_total", ["rate"])
    t.at("5m7s", 'rate(seen_total{is="steady"}[2m])', gives='{is="steady"} 0.3333333333333333', why="""
10 in 30 s. The window (3m7s, 5m7s] holds 3:30 to 5:00: 30 in 90 s; 23 s and 7 s to its ends, both less than 1.1
spacings, so the 30 are stretched to the whole 120 s.""".strip())
    t.at("6m7s", 'rate(seen_total{is="late"}[5m])', gives='{is="late"} 0.06377777777777778', why="""
From 5:00 on 7 in 30 s; the window (1m7s, 6m7s] holds 100, 107, 114. Its start is 233 s away, more than 1.1 spacings, so
half a spacing, 15 s, is added there, and the 7 s at the end: 14 * 82 / 60, in 300 s. (100 at 14 a minute would have
begun long before, so zero does not limit it.)""".strip())
    t.at("2m", 'rate(seen_total{is="steady"}[5m])', gives='{is="steady"} 0.13333333333333333', why="""
0, 10 .. 40 from 0:00 to 2:00 in (-3m, 2m]. Half a spacing at the start would reach below zero: the counter was 0 at
its first sample, so nothing is added there, and the end is met: 40 in 300 s.""".strip())
    t.at("5m7s", 'rate(seen_total{is="resets"}[1m])', 'rate(seen_total{is="resets"}[90s])',
         'increase(seen_total{is="resets"}[2m])')
    t.at("8m7s", *(f"{agg}(rate(seen_total[2m]))" for agg in ["sum", "avg", "max", "count", "stddev"]),
         "rate(seen_total[2m]) * 60",
         "rate(seen_total[2m]) > 0.2", "sum by (is) (rate(seen_total[2m]))", "topk(2, rate(seen_total[2m]))",
         "rate(seen_total[2m]) / rate(seen_total[4m])",
         "rate(seen_total[2m]) - rate(seen_total[2m] offset 1m)", "max_over_time(rate(seen_total[1m])[5m:30s])",
         "rate({is='steady'}[2m])")
    t.over("0s 12m 2m", "sum(rate(seen_total[2m]))", "rate(seen_total[2m] @ end())", "rate(seen_total[4m] @ start())",
           "rate(seen_total[90s]) > 0.3")
    t.say("Under two samples there is no rate; after staleness the range holds what came before and after.")
    t.at("6m7s", 'rate(seen_total{is="one"}[5m])', gives="")
    t.at("8m7s", 'rate(seen_total{is="gone"}[5m])')
    t.load("10s", "fast_total 0+1x200\nslow_total{job='a'} 5+5x30 0+5x100\nhuge_total 9e15+1e12x200")
    for name, span, metric in product(["rate", "increase", "irate"], ["15s", "1m", "5m"],
                                      ["fast_total", "slow_total", "huge_total"]):
        t.at("10m3s", f"{name}({metric}[{span}])")
        t.over("3s 10m3s 100s", f"{name}({metric}[{span}])")


def increase():
    t = Topic("increase", "increase: rate times the window.")
    t.load("30s", COUNTERS)
    over_spans(t, "seen_total", ["increase"])
    t.at("5m7s", 'increase(seen_total{is="steady"}[2m])', gives='{is="steady"} 40')
    t.at("5m7s", 'increase(seen_total{is="small"}[2m])', gives='{is="small"} 36',
         why="46 - 29 + ... : 29, 37, 46, 56: 27 in 90 s, stretched to 120.")
    t.at("8m7s", "increase(seen_total[3m]) / 180 - rate(seen_total[3m])",
         "increase(seen_total[3m]) / (rate(seen_total[3m]) * 180)",
         "sum(increase(seen_total[3m]))", "increase(seen_total[1m]) + increase(seen_total[1m] offset 1m)",
         "increase(seen_total[3m]) == 0",
         "round(increase(seen_total[3m]))", "-increase(seen_total[3m])")
    t.over("1m7s 9m7s 1m", "sum by (is) (increase(seen_total[2m]))", "increase(seen_total[2m]) > 20")


def deltas():
    t = Topic("deltas", "delta, idelta, irate.")
    t.load("30s", GAUGES + COUNTERS)
    over_spans(t, "level", ["delta", "idelta"])
    over_spans(t, "seen_total", ["irate"])
    t.at("5m7s", 'delta(level{is="down"}[2m])', gives='{is="down"} -8',
         why="-6 in 90 s, stretched to 120; no reset is seen, no zero limits.")
    t.at("2m", 'delta(level{is="up"}[5m])', gives='{is="up"} 6.75',
         why="6 in 120 s; half a spacing at the start: 6 * 135 / 120.")
    t.at("5m7s", 'idelta(level{is="wave"}[2m])', gives='{is="wave"} 2', why="3 then 5.")
    t.at("5m7s", 'irate(seen_total{is="resets"}[2m])', gives='{is="resets"} 0.1',
         why="At 5:00 3, after 45: a reset; 3 in 30 s.")
    t.at("5m7s", 'irate(seen_total{is="resets"}[2m])', 'irate(seen_total{is="holes"}[5m])', "irate(level[2m])",
         "delta(seen_total[2m])")


def resets_changes():
    t = Topic("resets_changes", "resets counts falls, changes counts changes; NaN after NaN is none.")
    t.load("30s", GAUGES + COUNTERS + """
        mood{is="nan"} NaN NaN NaN 1 NaN 1 1 2 NaN NaN 3
        mood{is="zero"} 0 -0 0 -0 0 0 0 0 0 0 0
        mood{is="inf"} Inf Inf -Inf Inf 1 Inf Inf Inf Inf 2 2
        mood{is="stale"} 1 stale 1 2 stale stale 2 1 _ 1 3
    """)
    over_spans(t, "level", ["resets", "changes"])
    for name, span in product(["resets", "changes"], ["1m", "4m", "10m"]):
        t.at("5m7s", f"{name}(mood[{span}])", f"{name}(seen_total[{span}])")
        t.over("0s 5m 50s", f"{name}(mood[{span}])")
    t.at("5m7s", 'changes(mood{is="nan"}[10m])', gives='{is="nan"} 6', why="NaN 1, 1 NaN, NaN 1, 1 2, 2 NaN, NaN 3.")
    t.at("5m7s", 'changes(mood{is="zero"}[10m])', gives='{is="zero"} 0', why="-0 equals 0.")
    t.at("5m7s", 'resets(mood{is="nan"}[10m])', gives='{is="nan"} 0', why="Nothing is less than NaN.")
    t.at("5m7s", 'resets(mood{is="stale"}[10m])', gives='{is="stale"} 1',
         why="Staleness markers are no samples: 1 1 2 2 1 1 3.")


def predict():
    t = Topic("predict", "deriv and predict_linear: simple linear regression.")
    t.load("30s", GAUGES)
    over_spans(t, "level", ["deriv"])
    for span, ahead in product(["1m", "3m", "10m", "1h"], ["0", "60", "-300", "3600"]):
        t.at("8m7s", f"predict_linear(level[{span}], {ahead})")
    t.over("0s 12m 1m7s", "predict_linear(level[3m], 600)", "predict_linear(level[5m], time())",
           "deriv(level[5m]) * 60")
    t.at("8m7s", 'deriv(level{is="up"}[3m])', gives='{is="up"} 0.05', why="1.5 in 30 s.")
    t.at("8m7s", 'deriv(level{is="flat"}[3m])', gives='{is="flat"} 0')
    t.at("8m7s", 'predict_linear(level{is="up"}[3m], 60)', gives='{is="up"} 27.35',
         why="Counted from the evaluation, not from the last sample: 24.35 at 8m7s, and 3 more in a minute.")
    t.at("8m7s", 'predict_linear(level{is="flat"}[3m], 1e6)', gives='{is="flat"} -7')
    t.at("8m7s", 'predict_linear(level{is="up"}[3m] offset 1m, 60)', 'predict_linear(level{is="up"}[3m] @ 400, 60)',
         'predict_linear(level{is="up"}[5m:1m], 60)', "predict_linear(level[3m], scalar(level{is='up'}))",
         "predict_linear(level[3m], NaN)",
         "predict_linear(level[3m], Inf)", "deriv(level[3m:10s])")
    t.at("8m7s", 'deriv(level{is="one"}[5m])', 'predict_linear(level{is="one"}[5m], 60)',
         "predict_linear(nothing[5m], 60)", gives="", why="One sample makes no line.")
    t.fails("predict_linear(level[3m])", "predict_linear(level, 60)", "predict_linear(60, level[3m])",
            'predict_linear(level[3m], "60")', "predict_linear(level[3m], level)")


def smoothing():
    t = Topic("smoothing", "double_exponential_smoothing (once called holt_winters).")
    t.load("30s", GAUGES)
    for span, smooth, trend in product(["1m", "3m", "10m"], ["0.01", "0.5", "0.9"], ["0.1", "0.8"]):
        t.at("8m7s", f"double_exponential_smoothing(level[{span}], {smooth}, {trend})")
    t.over("0s 12m 1m7s", "double_exponential_smoothing(level[3m], 0.3, 0.6)",
           "double_exponential_smoothing(level[4m:1m], 0.3, 0.6)")
    t.at("8m7s", 'double_exponential_smoothing(level{is="up"}[5m], 0.5, 0.5)', gives='{is="up"} 24',
         why="A straight line smooths to itself.")
    t.at("8m7s", 'double_exponential_smoothing(level{is="flat"}[5m], 0.5, 0.5)', gives='{is="flat"} -7')
    t.at("1m7s", 'double_exponential_smoothing(level{is="wave"}[5m], 0.5, 0.5)', gives='{is="wave"} 5.5',
         why="0 3 5: the trend begins as 3, the level is 3; trend 0.5 * 3 + 0.5 * 3, level 0.5 * 5 + 0.5 * (3 + 3).")
    t.at("8m7s", 'double_exponential_smoothing(level{is="one"}[5m], 0.5, 0.5)', gives="")
    t.fails("double_exponential_smoothing(level[3m], 1.5, 0.5)", "double_exponential_smoothing(level[3m], 0.5, -0.5)",
            "double_exponential_smoothing(level[3m], 2, 2)", "double_exponential_smoothing(level[3m], 0.5)",
            "double_exponential_smoothing(level, 0.5, 0.5)",
            time="8m7s")


def left_open():
    t = Topic("left_open", "Windows and lookback are open to the left: a sample exactly at their start is outside.")
    t.load("1m", "ticks 0+1x20\nwave 1 3 2 5 4 7 6 9 8 11 10 13 12")
    t.at("10m", "count_over_time(ticks[5m])", gives="{} 5", why="(5m, 10m]: 6, 7, 8, 9, 10.")
    t.at("10m", "sum_over_time(ticks[5m])", gives="{} 40")
    t.at("10m", "count_over_time(ticks[1m])", gives="{} 1")
    t.at("10m", "first_over_time(ticks[3m])", gives="ticks 8")
    t.at("10m", "rate(ticks[1m])", "delta(ticks[1m])", "irate(ticks[60s])", "deriv(ticks[1m])", gives="",
         why="A window as wide as the spacing holds one sample.")
    t.at("10m", "increase(ticks[5m])", gives="{} 5", why="6 to 10 is 4 in 4 minutes, stretched to 5.")
    t.at("10m", "rate(ticks[5m])", gives="{} 0.016666666666666666")
    t.at("10m", "changes(ticks[5m])", gives="{} 4")
    t.at("10m", "resets(wave[2m])", gives="{} 1", why="(8m, 10m] holds 11 and 10.")
    t.at("10m", "count_over_time(ticks[5m:1m])", gives="{} 5", why="Subqueries too.")
    t.at("10m", "count_over_time(ticks[5m:30s])", gives="{} 10")
    t.at("10m", "sum_over_time(ticks[2m:1m])", gives="{} 19")
    t.at("10m", "count_over_time(ticks[5m] offset 2m)", "count_over_time(ticks[5m] @ 480)", gives="{} 5")
    t.at("24m59s", "ticks", gives="ticks 20", why="The last sample is at 20m.")
    t.at("24m59s999ms", "ticks", gives="ticks 20")
    t.at("25m", "ticks", gives="", why="It is 5 minutes old.")
    t.at("25m", "last_over_time(ticks[5m])", "present_over_time(ticks[5m])", gives="")
    t.at("25m", "last_over_time(ticks[5m1ms])", gives="ticks 20")
    t.at("25m", "absent(ticks)", gives="{} 1")
    for name, span in product(["rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes",
                               "sum_over_time", "min_over_time",
                               "count_over_time", "avg_over_time", "last_over_time", "stddev_over_time"],
                               ["2m", "3m", "5m"]):  # fmt: skip
        t.at("10m", f"{name}(wave[{span}])")
        t.over("0 12m 1m", f"{name}(wave[{span}])")


rate()
increase()
deltas()
resets_changes()
predict()
smoothing()
left_open()
