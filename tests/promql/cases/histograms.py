"""Histograms: classic ones in buckets of series, native ones."""

from itertools import product

from topic import Topic

CLASSIC = """
    wait_bucket{shop="a", le="0.1"} 0+2x40
    wait_bucket{shop="a", le="0.5"} 0+6x40
    wait_bucket{shop="a", le="1"} 0+9x40
    wait_bucket{shop="a", le="5"} 0+9x40
    wait_bucket{shop="a", le="+Inf"} 0+10x40
    wait_bucket{shop="b", le="0.1"} 0x40
    wait_bucket{shop="b", le="0.5"} 0+4x40
    wait_bucket{shop="b", le="1"} 0+4x40
    wait_bucket{shop="b", le="5"} 0+8x40
    wait_bucket{shop="b", le="+Inf"} 0+8x40
    wait_count{shop="a"} 0+10x40
    wait_sum{shop="a"} 0+7.5x40
    cold_bucket{is="below", le="-10"} 1x40
    cold_bucket{is="below", le="0"} 4x40
    cold_bucket{is="below", le="10"} 6x40
    cold_bucket{is="below", le="Inf"} 8x40
    odd_bucket{is="one", le="+Inf"} 5x40
    odd_bucket{is="no top", le="1"} 5x40
    odd_bucket{is="no top", le="2"} 9x40
    odd_bucket{is="empty", le="1"} 0x40
    odd_bucket{is="empty", le="+Inf"} 0x40
    odd_bucket{is="falling", le="1"} 5x40
    odd_bucket{is="falling", le="2"} 4x40
    odd_bucket{is="falling", le="3"} 9x40
    odd_bucket{is="falling", le="+Inf"} 8x40
    odd_bucket{is="twice", le="1"} 2x40
    odd_bucket{is="twice", le="1.0"} 3x40
    odd_bucket{is="twice", le="2"} 8x40
    odd_bucket{is="twice", le="+Inf"} 8x40
    strange_bucket{is="no total", le="1"} 2x40
    strange_bucket{is="no total", le="2"} 3x40
    strange_bucket{is="no total", le="+Inf"} NaNx40
    strange_bucket{is="gap", le="1"} 2x40
    strange_bucket{is="gap", le="2"} NaNx40
    strange_bucket{is="gap", le="+Inf"} 4x40
    strange_bucket{is="endless", le="1"} 2x40
    strange_bucket{is="endless", le="2"} Infx40
    strange_bucket{is="endless", le="+Inf"} Infx40
    odd_bucket{is="part", le="1"} 0.25x40
    odd_bucket{is="part", le="2"} 0.75x40
    odd_bucket{is="part", le="+Inf"} 1x40
    lone{is="no le"} 5x40
"""
PHIS = ["0", "0.1", "0.25", "0.5", "0.75", "0.9", "0.99", "1", "-0.1", "1.5", "NaN"]


def classic():
    t = Topic("classic_histograms", "histogram_quantile and histogram_fraction over classic histograms.")
    t.load("30s", CLASSIC)
    for phi in PHIS:
        if phi != "0":
            t.at("5m7s", f"histogram_quantile({phi}, wait_bucket)",
                 f"histogram_quantile({phi}, sum by (le) (rate(wait_bucket[2m])))")
        t.at("5m7s", f'histogram_quantile({phi}, wait_bucket{{shop="a"}})',
             f"histogram_quantile({phi}, rate(wait_bucket{{shop='a'}}[2m]))", f"histogram_quantile({phi}, cold_bucket)",
             f'histogram_quantile({phi}, odd_bucket{{is!="empty"}})')
    for low, high in [("0", "0.1"), ("0", "0.3"), ("0.1", "0.5"), ("0.25", "0.75"), ("-Inf", "Inf"), ("0", "Inf"),
                      ("-1", "0"), ("0.5", "0.5"), ("1", "0"), ("2", "100"), ("NaN", "1"), ("0", "NaN"), ("5", "Inf"),
                      ("-Inf", "0.1")]:
        t.at("5m7s", f"histogram_fraction({low}, {high}, wait_bucket)",
             f"histogram_fraction({low}, {high}, rate(wait_bucket[2m]))",
             f'histogram_fraction({low}, {high}, odd_bucket{{is=~"part|empty|no top"}})')
    t.at("5m7s", 'histogram_quantile(0.5, wait_bucket{shop="a"})', gives='{shop="a"} 0.4',
         why="Rank 50 of 100: 20 lie up to 0.1, 40 more up to 0.5; 30 of those 40 are three quarters of the way.")
    t.at("5m7s", 'histogram_quantile(0.99, wait_bucket{shop="a"})', gives='{shop="a"} 5',
         why="In the highest bucket the bound below it stands for the quantile.")
    t.at("5m7s", 'histogram_quantile(0.1, wait_bucket{shop="a"})', gives='{shop="a"} 0.05',
         why="The lowest bucket begins at 0.")
    t.at("5m7s", "histogram_quantile(0.1, cold_bucket)", gives='{is="below"} -10',
         why="But if its bound is not above 0, the bound stands for it.")
    t.at("5m7s", "histogram_quantile(0.5, cold_bucket)", gives='{is="below"} 0')
    t.at("5m7s", 'histogram_quantile(0.5, odd_bucket{is="no top"})', gives='{is="no top"} NaN')
    t.at("5m7s", 'histogram_quantile(0.5, odd_bucket{is="one"})', gives='{is="one"} NaN', why="One bucket is too few.")
    t.at("5m7s", 'histogram_quantile(0.5, odd_bucket{is="empty"})', gives='{is="empty"} NaN')
    t.at("5m7s", 'histogram_quantile(0.9, odd_bucket{is="falling"})', expects=["info"], gives='{is="falling"} 2.775',
         why="5 5 9 9 once no count falls: rank 8.1, of the 4 between 2 and 3 it is 3.1.")
    t.at("5m7s", 'histogram_quantile(0.5, odd_bucket{is="twice"})', gives='{is="twice"} 0.8',
         why="One bound in two spellings: the counts add up, to 5 of 8.")
    t.at("5m7s", 'histogram_quantile(0.5, strange_bucket{is="no total"})', gives='{is="no total"} 2',
         why="No count reaches a rank of NaN: the highest bucket, for which the bound below it stands.")
    t.at("5m7s", 'histogram_quantile(0.5, strange_bucket{is="gap"})', gives='{is="gap"} 2',
         why="The bucket is found by halving, which NaN sends upwards.")
    t.at("5m7s", 'histogram_quantile(0.5, strange_bucket{is="endless"})', gives='{is="endless"} NaN',
         why="A part of infinitely many is no number.")
    t.at("5m7s", 'histogram_fraction(0, 2, odd_bucket{is="falling"})', gives='{is="falling"} 0.5',
         why="Fractions take counts as they are: 4 of 8.")
    t.at("5m7s", "histogram_fraction(0, 1.5, strange_bucket)", "histogram_fraction(1, 0, strange_bucket)",
         "histogram_quantile(0.2, strange_bucket)", "histogram_quantile(1, strange_bucket)")
    t.at("5m7s", 'histogram_fraction(0, 0.3, wait_bucket{shop="a"})', gives='{shop="a"} 0.4',
         why="20 up to 0.1 and half of the next 40, of 100.")
    t.at("5m7s", "histogram_quantile(0.5, lone)", "histogram_quantile(0.5, nothing)",
         "histogram_quantile(0.5, wait_sum)", gives="", why="Without le no bucket.")
    t.at("5m7s", "histogram_quantile(0.9, sum by (le) (wait_bucket))",
         "histogram_quantile(0.9, sum by (le, shop) (rate(wait_bucket[1m])))",
         "histogram_quantile(scalar(vector(0.5)), wait_bucket)", "histogram_quantile(0.5, wait_bucket > 0)",
         "histogram_quantile(0.5, wait_bucket) * 1000",
         "max(histogram_quantile(0.9, wait_bucket))", "histogram_quantile(0.5, wait_bucket offset 1m)",
         "histogram_quantile(0.5, wait_bucket or cold_bucket)", 'rate(wait_sum[2m]) / rate(wait_count[2m])',
         "wait_bucket{le='0.5'} / ignoring (le) wait_count", "histogram_quantile(0.5, increase(wait_bucket[3m]))",
         "histogram_quantile(0.5, sum without (shop) (rate(wait_bucket[2m])))")
    t.over("1m7s 9m7s 2m", "histogram_quantile(0.9, rate(wait_bucket[2m]))",
           "histogram_quantile(0.5, sum by (le) (rate(wait_bucket[2m])))",
           "histogram_quantile(time() / 600, wait_bucket{shop='a'})",
           "histogram_fraction(0, 0.3, rate(wait_bucket[2m]))")
    t.fails("histogram_quantile(wait_bucket)", "histogram_quantile(0.5)", 'histogram_quantile("0.5", wait_bucket)',
            "histogram_quantile(0.5, 1)", "histogram_quantile(wait_bucket, 0.5)", "histogram_fraction(0, wait_bucket)",
            "histogram_fraction(wait_bucket, 0, 1)", "histogram_quantile(0.5, wait_bucket[5m])")


NATIVE = """
    spent{of="a"} {{schema:0 sum:10 count:10 buckets:[1 2 3 4]}}+{{schema:0 sum:10 count:10 buckets:[1 2 3 4]}}x20
    spent{of="b"} {{schema:0 sum:6 count:9 z_bucket:2 z_bucket_w:0.001 buckets:[1 0 2] n_buckets:[3 1]}}+{{schema:0 sum:4 count:7 z_bucket:2 z_bucket_w:0.001 buckets:[2 1] n_buckets:[2]}}x20
    spent{of="c"} {{schema:1 sum:20 count:8 offset:2 buckets:[1 3 4]}}+{{schema:1 sum:20 count:8 offset:2 buckets:[1 3 4]}}x20
    spent{of="resets"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:5 count:4 buckets:[1 2 1]}}x5 {{schema:0 sum:1 count:1 buckets:[1]}}+{{schema:0 sum:5 count:4 buckets:[1 2 1]}}x14
    level{of="a"} {{schema:0 sum:10 count:10 buckets:[1 2 3 4] counter_reset_hint:gauge}}x8 {{schema:0 sum:12 count:11 buckets:[2 2 3 4] counter_reset_hint:gauge}}x11
    number{of="a"} 2x20
    number{of="b"} 3+1x20
"""


def native():
    t = Topic("native_histograms", "Native histograms: selection, arithmetic, aggregation, rates, estimates.")
    t.load("30s", NATIVE)
    t.at("5m7s", "spent", "level", "spent offset 1m", "spent @ 60", "{__name__=~'spent|number'}",
         "spent and on (of) number", "spent unless on (of) number", "timestamp(spent)",
         "label_replace(spent, 'x', '$1', 'of', '(.*)')", "topk(1, number)")
    for name in "count sum avg stddev stdvar".split():
        t.at("5m7s", f"histogram_{name}(spent)", f"histogram_{name}(rate(spent[2m]))", f"histogram_{name}(number)",
             f"histogram_{name}({{__name__=~'spent|number'}})", f"sum(histogram_{name}(spent))",
             f"histogram_{name}(sum(spent))", f"histogram_{name}(nothing)")
        t.over("0 8m 2m", f"histogram_{name}(spent)")
        t.fails(f"histogram_{name}()", f"histogram_{name}(1)", f"histogram_{name}(spent[5m])")
    t.at("5m7s", "histogram_count(spent{of='a'})", "histogram_sum(spent{of='a'})", gives='{of="a"} 110')
    t.at("5m7s", "histogram_avg(spent{of='c'})", gives='{of="c"} 2.5')
    for phi, of in product(PHIS, ["spent", "rate(spent[2m])", "sum(spent)"]):
        t.at("5m7s", f"histogram_quantile({phi}, {of})")
    for low, high in [("0", "1"), ("0", "2"), ("-1", "1"), ("-Inf", "Inf"), ("1", "3"), ("0", "0.0005"), ("2", "1"),
                      ("NaN", "1"), ("-2", "-0.75"), ("1.5", "Inf")]:
        t.at("5m7s", f"histogram_fraction({low}, {high}, spent)", f"histogram_fraction({low}, {high}, rate(spent[2m]))")
    t.at("5m7s", "histogram_quantile(0.5, spent{of='a'})", gives='{of="a"} 3.1748021039363987',
         why="Of 110 rank 55 lies in (2, 4], 22 of 33: 2 * (4 / 2)^(2/3); observations spread exponentially.")
    t.at("5m7s", "histogram_fraction(0, 2, spent{of='a'})", gives='{of="a"} 0.3', why="33 of 110.")
    t.at("5m7s", "histogram_fraction(0, 4, spent{of='a'})", gives='{of="a"} 0.6')
    t.at("5m7s", "histogram_fraction(0, 2.8284271247461903, spent{of='a'})", gives='{of="a"} 0.45',
         why="The middle of (2, 4] is 2 * sqrt 2: half of the 33.")
    t.say("Arithmetic: histograms add and subtract, and scale by floats; anything else gives nothing.")
    t.at("5m7s", "spent + spent", "spent - spent", "spent * 2", "2 * spent", "spent / 4", "spent * 0", "-spent",
         "spent * -1", "spent{of='a'} + on () spent{of='c'}", "spent{of='a'} - on () spent{of='c'}",
         "spent{of='b'} + on () spent{of='c'}", "spent * on (of) number", "spent / on (of) number",
         "number * on (of) spent",
         "spent + spent offset 1m", "spent - spent offset 1m", "spent == spent", "spent != spent",
         "spent == spent offset 1m", "spent != spent offset 1m", "spent{of='a'} == bool spent{of='a'}", "+spent")
    t.at("5m7s", "spent + 1", "1 - spent", "spent ^ 2", "spent % 2", "2 / spent", "spent * spent", "spent / spent",
         "spent > 1", "spent == bool 3", "spent > spent", "spent atan2 spent", "number + on (of) spent",
         "number / on (of) spent", "spent + on (of) number", "spent == on (of) number", "spent >= bool spent",
         gives="", expects=["info"], why="Not defined; the element goes, with a note.")
    t.at("5m7s", "spent{of='a'} + spent{of='a'}", gives='{of="a"} {{schema:0 sum:220 count:220 buckets:[22 44 66 88]}}')
    t.at("5m7s", "spent{of='a'} / 11", gives='{of="a"} {{schema:0 sum:10 count:10 buckets:[1 2 3 4]}}')
    t.at("5m7s", "sum(spent)", "avg(spent)", "sum by (of) (spent)", "avg by (of) (spent)", "count(spent)",
         "group(spent)", "count by (of) ({__name__=~'spent|number'})", "sum(rate(spent[2m]))", "sum(spent{of=~'a|c'})",
         "avg(spent{of=~'a|b'})", "sum(level)", "limitk(9, spent)", "count(limitk(2, spent))")
    t.at("5m7s", "sum({__name__=~'spent|number'})", "avg({__name__=~'spent|number'})", gives="", expects=["warn"],
         why="Floats and histograms do not add up.")
    t.at("5m7s", "min(spent)", "max(spent)", "stddev(spent)", "stdvar(spent)", "quantile(0.5, spent)", "topk(2, spent)",
         "bottomk(2, spent)", gives="", expects=["info"])
    t.at("5m7s", "max({__name__=~'spent|number'})", "min by (of) ({__name__=~'spent|number'})",
         "topk(3, {__name__=~'spent|number'})", "stddev({__name__=~'spent|number'})",
         "quantile(0.5, {__name__=~'spent|number'})", expects=["info"], why="The floats alone count.")
    for name in ["abs", "ceil", "floor", "exp", "sqrt", "ln", "sgn", "round", "sin", "deg", "year", "sort",
                 "sort_desc"]:
        t.at("5m7s", f"{name}(spent)", gives="", why="Histograms are left out in silence.")
    t.at("5m7s", "clamp(spent, 0, 1)", "clamp_min(spent, 1)", gives="")
    t.at("5m7s", "scalar(spent{of='a'})", gives="NaN")
    t.at("5m7s", "absent(spent)", gives="")
    t.say("Over time.")
    for name, span in product(["rate", "increase", "delta", "irate", "idelta", "sum_over_time", "avg_over_time",
                               "last_over_time", "first_over_time", "count_over_time", "present_over_time", "resets",
                               "changes", "ts_of_last_over_time"], ["1m", "2m", "4m"]):
        t.at("5m7s", f"{name}(spent[{span}])")
        if name in ("delta", "idelta", "avg_over_time", "changes", "resets"):
            t.at("5m7s", f"{name}(level[{span}])")
    t.at("5m7s", "rate(spent{of='a'}[2m])",
         gives='{of="a"} {{schema:0 sum:0.3333333333333333 count:0.3333333333333333 buckets:[0.03333333333333333 0.06666666666666667 0.1 0.13333333333333333]}}')
    t.at("5m7s", "resets(spent{of='resets'}[5m])", gives='{of="resets"} 1')
    t.at("3m7s", "irate(spent{of='resets'}[1m])",
         gives='{of="resets"} {{schema:0 sum:0.03333333333333333 count:0.03333333333333333 buckets:[0.03333333333333333]}}', why="1 observation since the reset, in 30 s.")
    for name in ["min", "max", "stddev", "stdvar", "mad", "ts_of_min", "ts_of_max"]:
        t.at("5m7s", f"{name}_over_time(spent[2m])", gives="", why="Only floats count.")
    t.at("5m7s", "quantile_over_time(0.5, spent[2m])", "deriv(spent[2m])", "predict_linear(spent[2m], 60)",
         "double_exponential_smoothing(spent[2m], 0.5, 0.5)", gives="")
    t.over("1m7s 9m7s 2m", "rate(spent[2m])", "spent", "sum(spent)", "histogram_quantile(0.9, rate(spent[2m]))",
           "spent * 2", "histogram_count(increase(spent[2m]))", "histogram_fraction(0, 2, rate(spent[2m]))",
           "sum_over_time(spent[1m])")
    t.at("5m7s", "rate(spent[2m:30s])", "sum_over_time(spent[2m:1m])", "last_over_time(spent[2m:1m])",
         "increase(spent[2m] offset 1m)", "rate(spent[2m] @ 200)", "count_over_time((spent * 2)[2m:30s])")
    mixed(t)
    custom(t)


def mixed(t):
    t.say("Floats and histograms in one series.")
    t.load("30s", """
        shift{is="to histograms"} 1 2 3 4 5 6 {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:5 count:4 buckets:[1 2 1]}}x14
        shift{is="to floats"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x5 1 2 3 4 5 6 7 8 9 10 11 12
    """)
    for name in ["rate", "increase", "sum_over_time", "avg_over_time"]:
        t.at("3m37s", f"{name}(shift[2m])", gives="", expects=["warn"],
             why="A window with both gives nothing, with a warning.")
        t.at("6m7s", f"{name}(shift[2m])")
    t.at("3m37s", "count_over_time(shift[2m])", "last_over_time(shift[2m])", "first_over_time(shift[2m])",
         "present_over_time(shift[2m])", "changes(shift[2m])", "resets(shift[2m])", "shift",
         "ts_of_first_over_time(shift[2m])")
    t.at("3m37s", "max_over_time(shift[2m])", "min_over_time(shift[2m])", "stddev_over_time(shift[2m])",
         "quantile_over_time(0.5, shift[2m])", "deriv(shift[2m])", "mad_over_time(shift[2m])", expects=["info"],
         why="The floats of the window alone.")
    t.over("0 8m 1m", "shift", "count_over_time(shift[2m])", "max_over_time(shift[2m])", "rate(shift[1m])",
           "sum(shift)", "histogram_count(shift)")


def custom(t):
    t.say("Histograms with bounds of their own: linear within a bucket, as classic ones.")
    t.load("30s", """
        bounded{of="a"} {{schema:-53 sum:30 count:10 custom_values:[1 2 5] buckets:[2 3 4 1]}}+{{schema:-53 sum:30 count:10 custom_values:[1 2 5] buckets:[2 3 4 1]}}x20
        bounded{of="b"} {{schema:-53 sum:7 count:5 custom_values:[1 2 5] buckets:[1 1 3]}}x20
        below{of="c"} {{schema:-53 sum:-7 count:6 custom_values:[-2 0 2] buckets:[1 2 3]}}x20
    """)
    for phi in PHIS:
        t.at("5m7s", f"histogram_quantile({phi}, bounded)")
    for low, high in [("0", "1"), ("1", "2"), ("0.5", "3"), ("-Inf", "Inf"), ("2", "5"), ("0", "Inf")]:
        t.at("5m7s", f"histogram_fraction({low}, {high}, bounded)")
    t.at("5m7s", "histogram_quantile(0.35, bounded{of='a'})", gives='{of="a"} 1.5',
         why="Rank 38.5 of 110: 22 up to 1, half of the 33 up to 2.")
    t.at("5m7s", "histogram_quantile(0.99, bounded{of='a'})", gives='{of="a"} 5',
         why="Above the last bound the bound stands.")
    t.at("5m7s", "histogram_count(bounded)", "histogram_sum(bounded)", "histogram_avg(bounded)", "sum(bounded)",
         "avg(bounded)", "bounded * 2", "bounded + bounded", "rate(bounded[2m])", "increase(bounded[2m])", "bounded",
         "bounded - bounded offset 1m", "histogram_quantile(0.5, sum(bounded))",
         "histogram_quantile(0.5, rate(bounded{of='a'}[2m]))", "resets(bounded[5m])", "changes(bounded[5m])",
         "sum_over_time(bounded[1m])", "histogram_quantile(0.9, below)", "histogram_quantile(0.4, below)",
         "histogram_fraction(0, 1, below)")
    t.over("1m7s 5m7s 2m", "histogram_quantile(0.9, rate(bounded{of='a'}[2m]))", "sum(bounded)")


classic()
native()
