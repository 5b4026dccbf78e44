"""Where a selector looks: offset, @, subqueries, staleness, lookback, absence, expressions of durations."""

from itertools import product

from topic import Topic

WELL = """
    depth{well="old"} 0+1x60
    depth{well="new"} _x10 100-1x50
    depth{well="dry"} 5 4 3 stale _x10 2 1 0 stale
    drawn_total{well="old"} 0+6x60
    drawn_total{well="new"} _x10 0+2x20 0+2x29
"""


def subqueries():
    t = Topic("subqueries", "Subqueries: instant queries at multiples of the resolution, in (t - range, t].")
    t.load("30s", WELL)
    inner = ["depth", "depth > 20", "sum(depth)", "rate(drawn_total[2m])", "depth offset 1m", "depth * 2",
             "vector(time())", "absent(depth)"]
    for expr, window in product(inner, ["5m:1m", "5m:", "90s:10s", "2m:45s", "10m:7s"]):
        wrapped = f"({expr})" if " > " in expr or " * " in expr else expr
        t.at("8m7s",
             *(f"{name}({wrapped}[{window}])" for name in ["sum_over_time", "count_over_time", "last_over_time"]))
    for expr in ["depth", "sum(depth)", "rate(drawn_total[2m])"]:
        t.over("1m7s 12m7s 2m", *(f"{name}({expr}[4m:1m])" for name in ["max_over_time", "rate", "changes"]))
        t.at("8m7s", f"avg_over_time({expr}[3m:30s] offset 2m)", f"avg_over_time({expr}[3m:30s] offset -1m)",
             f"avg_over_time({expr}[3m:30s] @ 300)",
             f"avg_over_time({expr}[3m:30s] @ 300 offset 1m)", f"avg_over_time({expr}[3m:30s] offset 1m @ 300)",
             f"avg_over_time({expr}[3m:30s] @ end())")
        t.over("1m7s 12m7s 2m", f"avg_over_time({expr}[3m:30s] @ start())", f"avg_over_time({expr}[3m:30s] @ end())",
               f"avg_over_time({expr}[3m:30s] offset 1m)")
    t.at("8m7s", "sum_over_time(vector(1)[5m:1m])", gives="{} 5",
         why="4m 5m 6m 7m 8m: multiples of the resolution, whatever the time of the query.")
    t.at("8m7s", "sum_over_time(vector(time())[2m:1m])", gives="{} 900", why="420 + 480.")
    t.at("8m", "sum_over_time(vector(time())[2m:1m])", gives="{} 900", why="6m is the open end.")
    t.at("8m7s", "count_over_time(vector(1)[5m:])", gives="{} 5",
         why="Without a resolution the evaluation interval counts, here a minute.")
    t.at("8m7s", "max_over_time(rate(drawn_total[1m])[5m:1m])", "max_over_time(max_over_time(depth[1m:10s])[3m:30s])",
         "sum(sum_over_time(depth[2m:30s]))",
         "min_over_time(sum by (well) (depth)[2m:30s])", "sum_over_time((depth - depth offset 1m)[3m:1m])",
         "deriv(depth[3m:30s])", "resets(drawn_total[8m:1m])",
         "predict_linear(depth[3m:30s], 60)", "rate(sum(drawn_total)[3m:30s])", "irate(drawn_total[3m:30s])",
         "sum_over_time(sum_over_time(vector(1)[3m:1m])[3m:1m])",
         "stddev_over_time(depth[5m:1m])", "last_over_time((depth > 1e9)[5m:1m])",
         "absent_over_time((depth > 1e9)[5m:1m])", "present_over_time(depth[5m:1m])",
         "count_over_time((depth or vector(0))[3m:1m])", "sum_over_time((-depth)[3m:1m])",
         "last_over_time(topk(1, depth)[3m:1m])")
    t.fails("depth[5m:1m] + 1", "sum_over_time(-depth[3m:1m])", "sum(depth[5m:1m])", "sum_over_time(depth[5m:0s])",
            "sum_over_time(1[5m:1m])", "sum_over_time(depth[5m][5m:1m])",
            "sum_over_time(depth[5m:1m:1m])", "sum_over_time(depth[:1m])", "sum_over_time(time()[5m:])",
            'sum_over_time("a"[5m:])')


def offset_at():
    t = Topic("offset_at", "offset and @.")
    t.load("30s", WELL)
    modifiers = ["", "offset 1m", "offset 90s", "offset 10m", "offset -1m", "offset 0s", "@ 0", "@ 200", "@ 200.5",
                 "@ -5", "@ 1e3", "@ start()", "@ end()",
                 "@ 300 offset 1m", "offset 1m @ 300", "@ end() offset 1m", "@ start() offset -2m", "offset 1h",
                 "@ 5m"]  # fmt: skip
    for expr, modifier in product(["depth", "depth{well='old'}", "sum(depth M)", "rate(drawn_total[3m] M)", "-depth M",
                                   "timestamp(depth M)",
                                   "depth - depth M", "max_over_time(depth[3m] M)", "absent(depth{well='old'} M)"],
                                   modifiers):  # fmt: skip
        query = expr.replace(" M", f" {modifier}".rstrip()) if "M" in expr else f"{expr} {modifier}".rstrip()
        t.at("8m7s", query)
    for modifier in modifiers:
        t.over("1m7s 8m7s 1m45s", f"depth {modifier}".rstrip(), f"sum(depth {modifier})",
               f"increase(drawn_total[3m] {modifier})", f"depth + on (well) depth {modifier}")
    t.at("8m7s", "depth{well='old'} @ 300", gives='depth{well="old"} 10')
    t.at("8m7s", "depth{well='old'} @ 300 offset 1m", "depth{well='old'} offset 1m @ 300", gives='depth{well="old"} 8',
         why="@ first, then the offset, however written.")
    t.at("8m7s", "timestamp(depth{well='old'} offset 1m)", gives='{well="old"} 420')
    t.over("1m 5m 1m", "depth{well='old'} @ start()", gives='depth{well="old"} 2 2 2 2 2')
    t.over("1m 5m 1m", "depth{well='old'} @ end()", gives='depth{well="old"} 10 10 10 10 10')
    t.over("1m 5m 1m", "depth{well='old'} - depth{well='old'} @ start()", gives='{well="old"} 0 2 4 6 8')
    t.over("1m 5m 1m", "time() - 60", gives="{} 0 60 120 180 240")
    t.at("8m7s", "sum_over_time(depth{well='old'}[1m] @ 90)", gives='{well="old"} 5',
         why="2 and 3; the sample at 0:30 is the open end.")
    t.fails("sum(depth) offset 1m", "1 offset 1m", "depth offset 1m offset 2m", "depth @ 1 @ 2", "depth offset",
            "depth @", "depth @ foo", "depth @ Inf", "depth @ NaN",
            "depth offset 1x", "(depth) offset 1m", "sum(depth) @ 5", "depth offset 1m[5m]",
            "rate(depth offset 1m [5m])", "depth @ start", "depth @ (5)", "depth @ time()")


def staleness():
    t = Topic("staleness", "Staleness markers end a series until its next sample.")
    t.load("30s", """
        lamp{room="hall"} 1 2 3 stale _ _ 7 8 stale stale 11 _ 13
        lamp{room="loft"} 5x20
        lamp{room="cave"} stale 1 stale 2 stale
        lit_total{room="hall"} 0+3x4 stale _ 0+4x10
    """)
    for time in ["0", "1m", "1m29s", "1m30s", "2m", "3m", "3m59s", "4m", "4m31s", "5m7s", "9m", "11m", "11m1s", "15m1s",
                 "15m"]:
        t.at(time, "lamp", "count(lamp)", "lamp{room='hall'} or vector(-1)")
    t.over("0 7m 30s", "lamp", "sum(lamp)", "count_over_time(lamp[1m])", "last_over_time(lamp[2m])",
           "changes(lamp[3m])", "absent(lamp{room='hall'})",
           "rate(lit_total[2m])", "increase(lit_total[2m])", "resets(lit_total[5m])", "lamp offset 1m", "lamp @ 60",
           "timestamp(lamp)", "min_over_time(lamp[3m:30s])",
           "lamp and lamp offset 30s", "present_over_time(lamp[1m])", "irate(lamp[2m])", "avg_over_time(lamp[90s])",
           "delta(lamp[3m])")
    t.at("1m35s", "lamp", gives='lamp{room="loft"} 5\nlamp{room="cave"} 2', why="hall's marker at 1:30 is the newest.")
    t.at("1m35s", "last_over_time(lamp[2m])", gives='lamp{room="hall"} 3\nlamp{room="loft"} 5\nlamp{room="cave"} 2',
         why="Ranges pass over markers.")
    t.at("3m5s", "lamp{room='hall'}", gives='lamp{room="hall"} 7', why="A new sample after it: back again.")
    t.at("35s", "count_over_time(lamp[1m])", gives='{room="hall"} 2\n{room="loft"} 2\n{room="cave"} 1')


def lookback():
    t = Topic("lookback", "An instant sees the newest sample of the last 5 minutes.")
    t.load("1m", """
        rare{is="each"} 1+1x3
        rare{is="gap"} 1 _x6 8 _x3 12
        rare{is="once"} _x2 3
    """)
    for time in ["0", "30s", "3m", "4m59s", "5m", "6m59s", "7m", "7m1s", "8m", "11m59s", "12m", "15m59s", "16m", "17m"]:
        t.at(time, "rare", "sum(rare)", "timestamp(rare)", "time() - timestamp(rare)")
    t.over("0 18m 1m", "rare", "count(rare)", "rare offset 2m", "rare > 2", "absent(rare{is='gap'})",
           "rare{is='gap'} or vector(0)", "timestamp(rare)")
    t.over("30s 18m 90s", "rare", "sum(rare)", "last_over_time(rare[1m])", "rare unless rare offset 5m")
    t.at("8m", "rare{is='each'}", gives="",
         why="Its last sample, at 3m, is exactly 5 minutes old; the window is open to the left.")
    t.at("7m59s", "rare{is='each'}", gives='rare{is="each"} 4')
    t.at("12m", "rare", gives='rare{is="gap"} 12', why="At 11m.")


def absent():
    t = Topic("absent", "absent and absent_over_time; the labels come from matchers by =, once.")
    t.load("30s", 'here{a="1", b="x"} 1x20\nhere{a="2", b="y"} 2x20\nthere{a="1"} 3 stale')
    for query, answer in [
        ('gone', "{} 1"), ('gone{a="1"}', '{a="1"} 1'), ('gone{a="1", b="2"}', '{a="1", b="2"} 1'),
        ('gone{a="1", b=~"2"}', '{a="1"} 1'),
        ('gone{a!="1"}', "{} 1"), ('gone{a="1", a="2"}', "{} 1"), ('gone{a="1", a=~".*"}', "{} 1"),
        ('{__name__="gone", a="1"}', '{a="1"} 1'),
        ('{a="7"}', '{a="7"} 1'), ('here', ""), ('here{a="1"}', ""), ('here{a="3"}', '{a="3"} 1'),
        ('here{a=~"1|3"}', ""), ('there', "{} 1"),
        ('gone{a=""}', "{} 1"), ('gone{a="1", b=""}', '{a="1"} 1'),
    ]:  # fmt: skip
        t.at("5m7s", f"absent({query})", gives=answer)
        if query != "there":
            t.at("5m7s", f"absent_over_time({query}[2m])", gives=answer)
    t.at("5m7s", "absent_over_time(there[2m])", gives="{} 1")
    t.at("5m7s", "absent_over_time(there[10m])", gives="")
    t.at("5m7s", "absent(sum(gone{a='1'}))", "absent(rate(gone{a='1'}[5m]))", "absent(gone{a='1'} > 1)",
         "absent(here > 9)", "absent(gone or gone)", "absent_over_time(sum(gone{a='1'})[5m:])",
         "absent_over_time((here > 9)[5m:])", "absent(-gone{a='1'})", gives="{} 1",
         why="Only a plain selector lends its labels.")
    t.at("5m7s", "absent(here > 1)", "absent(vector(1))", "absent(absent(gone))", "absent_over_time(here[1m:10s])",
         "absent(here offset 1m)", gives="")
    t.at("5m7s", "absent(gone{a='1'} offset 1m)", "absent(gone{a='1'} @ 60)",
         "absent_over_time(gone{a='1'}[5m] offset 1m)", gives='{a="1"} 1')
    t.at("5m7s", "absent(gone{a='1'}) * 5", "sum(absent(gone{a='1'}))", "absent(gone) and on () here",
         "absent(here) or absent(gone)", "absent(gone{a='1'}) + on (a) here")
    t.over("0 20m 3m", "absent(here)", "absent(here{a='9'})", "absent_over_time(here[1m])", "absent(there)",
           "absent_over_time(here{a='1'}[1m] offset 3m)", "sum(absent(here))")
    t.fails("absent()", "absent(1)", "absent(here[5m])", "absent_over_time(here)", "absent(here, 1)", 'absent("a")')


def duration_expressions():
    t = Topic("duration_expressions", "Durations: units, plain numbers, arithmetic, step(), range(), min_of and max_of.")
    t.load("15s", "tick 0+1x400\nwork_total 0+3x400")
    for span in ["1m30s", "90s", "90000ms", "90", "1.5 * 1m", "1m + 30s", "2m - 30s", "3m / 2", "30s * 3", "(1m + 30s)",
                 "4m % 150s", "90s * 1 ^ 3", "0x5a", "3 ^ 2 * 10s",
                 "max_of(90s, 1m)", "min_of(90s, 10m)", "(2 - 0.5) * 1m", "9e1"]:  # fmt: skip
        t.at("20m7s", f"sum_over_time(tick[{span}])", gives="{} 465", why="75 to 80.")
    for offset in ["1m", "60", "(30s * 2)", "(2m / 2)", "(2m - 1m)", "max_of(1m, 30s)", "1m0s"]:
        t.at("20m7s", f"tick offset {offset}", gives="tick 76")
    t.at("20m7s", "tick offset (1m - 2m)", gives="tick 84", why="A negative offset.")
    t.at("20m7s", "tick offset -1m", gives="tick 84")
    t.at("20m7s", "sum_over_time(tick[1m:30s * 1])", "sum_over_time(tick[30s + 30s:30s])",
         "rate(work_total[2 * 1m] offset (1m + 1m))", "rate(work_total[1m + 1m] @ 600)",
         "increase(work_total[300])", "tick offset 300", "sum_over_time(tick[1m] @ 600)", "sum_over_time(tick[2m:15])",
         "sum_over_time(tick[max_of(1m, 2m):min_of(15s, 1m)])")
    t.over("10m7s 20m7s 2m", "sum_over_time(tick[step()])", "sum_over_time(tick[2 * step()])",
           "sum_over_time(tick[range()])", "sum_over_time(tick[max_of(step(), 5m)])",
           "sum_over_time(tick[min_of(step(), 1m)])", "sum_over_time(tick[step() + 30s])", "tick offset (step() / 2)",
           "tick offset step()", "max_over_time(tick[range()] @ end())",
           "sum_over_time(tick[1m:step() / 8])", "rate(work_total[step() * 2] offset (step() - 1m))",
           "tick offset -step()", "sum_over_time(tick[range() / 5])")
    t.over("10m7s 20m7s 2m", "sum_over_time(tick[step()])", gives="{} 292 356 420 484 548 612",
           why="The last 8 of each 2 minutes: 33 to 40 make 292.")
    t.fails("sum_over_time(tick[0])", "sum_over_time(tick[0s])", "sum_over_time(tick[1m - 1m])",
            "sum_over_time(tick[-1m])", "sum_over_time(tick[1m - 2m])", "sum_over_time(tick[tick])",
            "sum_over_time(tick[1m / 0])", "sum_over_time(tick[])", "sum_over_time(tick[sum(tick)])",
            "tick offset tick", "sum_over_time(tick[1m:0])", "sum_over_time(tick[time()])",
            "sum_over_time(tick[step()])", "sum_over_time(tick[1s1m])", "sum_over_time(tick[1m1m])",
            "sum_over_time(tick[1.5m])", "sum_over_time(tick['1m'])", time="20m7s")
    t.say("A duration is a number of seconds, and a number of seconds a duration.")
    for query, answer in [("1m", "60"), ("1h30m", "5400"), ("1d", "86400"), ("1w", "604800"), ("1y", "31536000"),
                          ("500ms", "0.5"), ("1m * 2", "120"), ("1h / 1m", "60"), ("-5m", "-300"),
                          ("5m == bool 300", "1")]:
        t.at("0", query, gives=answer)


subqueries()
offset_at()
staleness()
lookback()
absent()
duration_expressions()
