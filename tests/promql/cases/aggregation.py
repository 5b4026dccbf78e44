"""Aggregation operators."""

from itertools import product

from topic import Topic

PLAIN = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
FARM = """
    milk{farm="hill", cow="Ada", breed="red"} 1+1x60
    milk{farm="hill", cow="Bea", breed="pied"} 20-0.5x60
    milk{farm="dale", cow="Cid", breed="red"} 3 7 _ 9 12 5 5 5 8x52
    milk{farm="dale", cow="Dot", breed="pied"} 0.1+0.1x60
    milk{farm="moor", cow="Eva"} -4+2x60
    odd{is="nan"} NaNx60
    odd{is="one"} 1x60
    odd{is="two"} 2x60
    odd{is="inf"} Infx60
    odd{is="low"} -Infx60
"""
CLAUSES = ["", "by (farm)", "by (breed)", "by (farm, breed)", "by (nothing)", "by ()", "without (cow)",
           "without (farm, cow)",
           "without ()", "without (nothing)", "by (__name__)", "without (__name__)"]  # fmt: skip


def aggregations():
    t = Topic("aggregations", "sum avg min max count group stddev stdvar, by and without.")
    t.load("30s", FARM)
    for name, clause in product(PLAIN, CLAUSES):
        t.at("5m7s", f"{name} {clause} (milk)".replace("  ", " "))
    t.at("5m7s", *(f"{name}(milk) by (farm)" for name in PLAIN),
         *(f"{name}(milk) without (cow, breed)" for name in PLAIN))
    t.over("1m7s 9m7s 2m", *(f"{name} by (farm) (milk)" for name in PLAIN), *(f"{name}(milk > 5)" for name in PLAIN))
    t.at("5m7s", "sum(milk)", gives="{} 51.1", why="11 + 15 + 8 + 1.1 + 16.")
    t.at("5m7s", "avg by (farm) (milk)", gives='{farm="hill"} 13\n{farm="dale"} 4.55\n{farm="moor"} 16')
    t.at("5m7s", "stddev by (farm) (milk)", gives='{farm="hill"} 2\n{farm="dale"} 3.45\n{farm="moor"} 0',
         why="Of the population: of 11 and 15, of 8 and 1.1.")
    t.at("5m7s", "count by (breed) (milk)", gives='{breed="red"} 2\n{breed="pied"} 2\n{} 1',
         why="A label that is missing groups as the empty one.")
    t.at("5m7s", "sum without (cow) (milk)", gives="""
        {farm="hill", breed="red"} 11
        {farm="hill", breed="pied"} 15
        {farm="dale", breed="red"} 8
        {farm="dale", breed="pied"} 1.1
        {farm="moor"} 16
    """, why="without takes the name along.")
    t.at("5m7s", "sum by (__name__) (milk)", gives="milk 51.1")
    t.at("5m7s", "group(milk)", gives="{} 1")
    t.at("5m7s", *(f"{name}(nothing)" for name in PLAIN), *(f"{name} by (farm) (nothing)" for name in PLAIN), gives="",
         why="Nothing aggregates to nothing.")
    t.say("NaN and infinities: min and max are NaN only if all values are; sums follow IEEE 754; no deviation of them exists.")
    for name, kinds in product(PLAIN,
                               ["nan", "nan|one", "one|two", "inf|one", "low|inf", "nan|inf", "inf", "low", ".*"]):
        t.at("5m7s", f'{name}(odd{{is=~"{kinds}"}})')
    t.say("Nested, with expressions and trailing commas.")
    t.at("5m7s", "sum(sum by (farm) (milk))", "max(count by (farm) (milk))", "avg(sum without (cow, breed) (milk))",
         "sum by (farm,) (milk)",
         "sum(milk) by (farm, breed,)", "sum(milk * 2)", "sum(milk) * 2", "-sum(milk)", "sum(-milk)",
         "count(milk > 10 or odd)",
         "sum by (farm) (milk) / count by (farm) (milk)", "max(milk) - min(milk)", "sum(vector(3))",
         "count(count by (breed) (milk))",
         "SUM(milk)", "Sum By (farm) (milk)", "sum(({__name__=~'milk|odd', is!~'nan|inf|low'}))")
    t.say("Sums keep the low bits that a plain addition would lose.")
    t.load("1m", """
        big{part="a"} 1e100x10
        big{part="b"} 1x10
        big{part="c"} -1e100x10
        fine{part="a"} 0.1x10
        fine{part="b"} 0.2x10
        fine{part="c"} 0.3x10
        fine{part="d"} -0.6x10
        huge{part="a"} 1.7e308x10
        huge{part="b"} 1.7e308x10
        huge{part="c"} -1.7e308x10
    """)
    t.at("5m", "sum(big)", gives="{} 1", why="1e100 + 1 - 1e100.")
    t.at("5m", "avg(big)", gives="{} 0.3333333333333333")
    t.at("5m", 'avg(huge{part=~"a|b"})', gives="{} 1.7e308", why="The sum overflows, the mean does not.")
    t.at("5m", 'sum(huge{part=~"a|b"})', gives="{} Inf")
    t.at("5m", 'max(huge)', 'min(huge)')


def topk():
    t = Topic("topk", "topk, bottomk, limitk, limit_ratio.")
    t.load("30s", FARM)
    for name, k in product(["topk", "bottomk"], ["1", "2", "3", "10", "0", "-1", "1.9"]):
        for clause in ["", "by (farm)", "without (cow, breed)"]:
            t.at("5m7s", f"{name} {clause} ({k}, milk)".replace("  ", " "))
    t.at("5m7s", "topk(3, milk)", expects=["ordered"], gives="""
        milk{farm="moor", cow="Eva"} 16
        milk{farm="hill", cow="Bea", breed="pied"} 15
        milk{farm="hill", cow="Ada", breed="red"} 11
    """, why="In order of value, the elements whole.")
    t.at("5m7s", "bottomk(2, milk)", expects=["ordered"], gives="""
        milk{farm="dale", cow="Dot", breed="pied"} 1.1
        milk{farm="dale", cow="Cid", breed="red"} 8
    """)
    t.at("5m7s", "topk(2, odd)", 'topk(4, odd{is!="low"})', 'bottomk(2, odd)', 'bottomk(4, odd{is!="inf"})',
         expects=["ordered"],
         why="NaN is farthest from the top, and from the bottom.")
    t.at("5m7s", "topk(5, odd)", "bottomk(5, odd)", "topk(1, odd{is='nan'})")
    t.over("1m7s 9m7s 1m", "topk(2, milk)", "bottomk(2, milk)", "topk by (farm) (1, milk)",
           "bottomk(1, milk) by (farm)",
           "topk(scalar(count(milk)) - 3, milk)", "sum(topk(2, milk))", "topk(2, milk > 5)")
    t.say("k may differ from step to step.")
    t.over("1m7s 9m7s 1m", "topk(time() / 120, milk)", "bottomk(time() / 60 % 3, milk)")
    t.at("5m7s", "bottomk(-Inf, milk)", gives="", why="Less than one is none.")
    t.at("5m7s", "topk(2, nothing)", "topk(scalar(count(odd)) - 5, milk)", gives="")
    t.at("5m7s", "topk(2, milk) + 0", "topk(2, -milk)", "topk(1, sum by (farm) (milk))", "topk(2, milk) by (cow)",
         "topk(1, milk) - topk(1, milk)")
    t.fails("topk(NaN, milk)", "topk(Inf, milk)", "topk(milk)", 'topk("2", milk)', "topk(milk, 2)", "topk(2)", time="5m7s")
    t.say("Which elements limitk and limit_ratio choose is not laid down; how many, and that a choice is stable, is.")
    for k, n in [("0", ""), ("1", "{} 1"), ("3", "{} 3"), ("9", "{} 5"), ("-2", "")]:
        t.at("5m7s", f"count(limitk({k}, milk))", gives=n)
        t.at("5m7s", f"count(limitk({k}, milk) and milk)", gives=n)
    t.at("5m7s", "count by (farm) (limitk by (farm) (1, milk))",
         gives='{farm="hill"} 1\n{farm="dale"} 1\n{farm="moor"} 1')
    t.at("5m7s", "limitk(5, milk)", "limitk(7, milk)", "limit_ratio(1, milk)", "limit_ratio(-1, milk)",
         "limit_ratio(0.4, milk) or limit_ratio(-0.6, milk)", "limit_ratio(-0.1, milk) or limit_ratio(0.9, milk)",
         gives="""
        milk{farm="hill", cow="Ada", breed="red"} 11
        milk{farm="hill", cow="Bea", breed="pied"} 15
        milk{farm="dale", cow="Cid", breed="red"} 8
        milk{farm="dale", cow="Dot", breed="pied"} 1.1
        milk{farm="moor", cow="Eva"} 16
    """, why="All of them.")
    t.at("5m7s", "limit_ratio(0, milk)", "limit_ratio(0.4, milk) and limit_ratio(-0.6, milk)",
         "limitk(2, milk) unless limitk(2, milk)",
         "limit_ratio(0.5, milk) unless limit_ratio(0.5, milk)", gives="", why="None.")
    t.over("1m7s 5m7s 1m", "count(limitk(2, milk))", "limit_ratio(0.3, milk) or limit_ratio(-0.7, milk)",
           "limitk(5, milk)")
    t.fails("limitk(NaN, milk)", "limit_ratio(milk)", "limitk(2)", 'limit_ratio("x", milk)', "limit_ratio(NaN, milk)",
            time="5m7s")


def quantile():
    t = Topic("quantile", "quantile and count_values.")
    t.load("30s", FARM)
    for phi in ["0", "0.1", "0.25", "0.5", "0.75", "0.9", "1", "-0.1", "1.1", "NaN", "Inf", "0.333"]:
        for clause in ["", "by (farm)", "without (cow, farm)"]:
            t.at("5m7s", f"quantile {clause} ({phi}, milk)".replace("  ", " "))
        t.at("5m7s", f"quantile({phi}, odd)", f"quantile({phi}, odd{{is=~'one|two'}})")
    t.at("5m7s", "quantile(0.5, milk)", gives="{} 11")
    t.at("5m7s", "quantile(0.25, milk)", gives="{} 8", why="The values are 1.1 8 11 15 16; rank 0.25 * 4.")
    t.at("5m7s", "quantile(0.3, milk)", gives="{} 8.6", why="Rank 1.2, between 8 and 11.")
    t.at("5m7s", "quantile(-0.5, milk)", gives="{} -Inf", expects=["warn"])
    t.at("5m7s", "quantile(2, milk)", gives="{} Inf", expects=["warn"])
    t.at("5m7s", "quantile(NaN, milk)", gives="{} NaN", expects=["warn"])
    t.over("1m7s 9m7s 1m", "quantile(0.5, milk)", "quantile by (farm) (0.9, milk)", "quantile(time() / 600, milk)")
    t.at("5m7s", "quantile(0.5, nothing)", gives="")
    t.fails("quantile(milk)", 'quantile("0.5", milk)', "quantile(milk, 0.5)", "quantile(0.5, 1)", time="5m7s")
    t.say("count_values makes the value a label, written without an exponent.")
    t.load("30s", """
        build{host="a", rack="1"} 6x20
        build{host="b", rack="1"} 6x20
        build{host="c", rack="2"} 7x20
        build{host="d", rack="2"} 0.5x20
        wide{host="a"} 1e20x20
        wide{host="b"} 1e-7x20
        wide{host="c"} -3.25x20
        wide{host="d"} NaNx20
        wide{host="e"} Infx20
        wide{host="f"} -Infx20
        wide{host="g"} 123456789x20
    """)
    t.at("5m7s", 'count_values("version", build)', gives='{version="6"} 2\n{version="7"} 1\n{version="0.5"} 1')
    t.at("5m7s", 'count_values by (rack) ("version", build)', gives="""
        {rack="1", version="6"} 2
        {rack="2", version="7"} 1
        {rack="2", version="0.5"} 1
    """)
    t.at("5m7s", 'count_values without (host) ("version", build)', 'count_values("v", build) by (host)',
         'count_values("rack", build)',
         'count_values("v", wide)', 'count_values("v", build * 2)', 'sum(count_values("v", build))',
         'count_values("v", nothing)',
         "count_values('v', build) without (host, rack)", 'count_values("v", vector(1.5))',
         'count_values("v", sum by (rack) (build))',
         'count_values without () ("v", build)', 'count_values by () ("v", build)')
    t.over("1m 3m 30s", 'count_values("version", build)', 'count_values by (rack) ("v", build - time() / 60)')
    t.fails('count_values("", build)', "count_values(1, build)", "count_values(build)", 'count_values("v", 1)',
            time="5m7s")


aggregations()
topk()
quantile()
