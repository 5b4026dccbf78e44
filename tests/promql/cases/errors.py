"""Queries that are refused, and the notes that come with answers."""

from topic import Topic


def errors():
    t = Topic("errors", "What is no PromQL, has types that do not fit, or cannot be answered.")
    t.load("30s", 'm{a="1"} 1x20\nm{a="2"} 2x20\nn{a="1"} 3x20')
    t.say("No syntax.")
    t.fails("(", ")", "()", "m)", "(m", "m m", "1 2", "m +", "+ +", "* m", "m * / n", "m{", "m}", "m{a}",
            "m{a=}", "m{a='1}", "m{'a'='1' 'b'='2'}", "m[", "m[5m", "m]", "m[5m]]", "m[[5m]]", "m[5]m", "m[5m 5m]",
            "m[:]", "m[5m:1m:2m]",
            "sum(", "sum)", "sum by", "sum by (a", "sum by a (m)", "sum by (a) m", "sum by (a) (m) by (a)",
            "sum by (a) without (a) (m)", "sum (m) (m)", "by (a) (m)", "sum(m) sum(m)", "sum(m,)", "sum by (1) (m)",
            "sum by (a b) (m)", "sum by (,) (m)", "rate(m[5m],)", "rate(,m[5m])", "rate m[5m]",
            "m and", "and m", "m and or n", "m on (a) n", "m + on n", "m + on (a n", "m + on (a) on (a) n",
            "m + group_left n", "m + ignoring (a) group_left (b n", "m bool n", "m == bool bool n", "m =~ n", "m = n",
            "m === n", "m !! n", "!m", "m & n", "m && n", "m || n", "m ? n : m", "m ; n", "m -",
            "'a", '"a', "`a", '"\\q"', '"\\x4"', "'a' 'b'", "0x", "0xg", "1e", "1e+", "1.2.3", "1a", "5mm", "1h1x",
            "$a", "m$", "@", "m @", "@ 5", "m @@ 5", "m @ -", "offset 5m", "m offset", "m offset -", "m offset 5m 5m",
            "{a='1'", "{a='1'}}", "{{a='1'}}", "[5m]", "5m[5m", "\\", "m\\n", "~m", "m % % n", "m ^", "1 ^ ^ 2", "foo(",
            "foo)")
    t.say("No such function, or not so many arguments.")
    t.fails("foo(m)", "sums(m)", "RATE(m[5m])", "holt_winters(m[5m], 0.5, 0.5)", "rate()", "rate(m[5m], m[5m])",
            "time(m)", "vector()", "label_replace(m)", "clamp(m)", "sum()", "sum(m, n)", "topk(m)", "topk(1)",
            "topk(1, m, n)", "count_values(m)", "quantile(m)", "abs(m, n)", "absent(m, n)", "pi(m)", "sort_by_label()",
            "histogram_quantile(m)", "round(m, 1, 2)", "year(m, n)", "scalar()", "min(1, 2)",
            "max(m, n)", "avg()", "limitk(m)", "first_over_time()", "ts_of_max_over_time(m)")
    t.say("Types.")
    t.fails("rate(m)", "rate(1)", "rate('a')", "rate(rate(m[5m]))", "sum(1)", "sum('a')", "sum(m[5m])", "sum(time())",
            "abs(1)", "abs('a')", "abs(m[5m])", "vector(m)", "vector('a')", "scalar(1)", "-m[5m]", "-'a'", "+'a'",
            "m + 'a'", "'a' + 'a'", "'a' == 'a'", "1 + m[5m]", "m[5m] + m[5m]", "m + m[5m]", "1 and 2", "1 or m",
            "m unless 1", "m and 'a'",
            "1 == 1", "1 > 2", "time() > 5", "1 + 2 < 3", "m + bool n", "m and bool n", "1 + bool 2", "1 + on (a) 2",
            "m + on (a) 1", "1 + ignoring (a) m", "m[5m][5m]", "m[5m][5m:1m]", "1[5m]", "1[5m:1m]", "time()[5m:1m]",
            "sum(m)[5m]", "(m)[5m]", "rate(m[5m])[5m]", "(m + n)[5m]", "'a'[5m]", "topk('a', m)", "topk(m, m)",
            "quantile('a', m)", "count_values(1, m)",
            "count_values(m, m)", "label_replace(m, a, b, c, d)", "label_join(m, 'a', 1)", "sum(m) offset 5m",
            "(m) offset 5m", "1 offset 5m", "sum(m) @ 5", "1 @ 5", "rate(m[5m]) offset 5m", "m offset 5m [5m]",
            "m @ 5 [5m]", "m offset m", "m offset 'a'", "m @ m", "m @ 'a'", "m[m]", "m['a']", "m[-5m]", "m[0]", "m[0s]",
            "predict_linear(m[5m], m)", "histogram_quantile(m, m)",
            "clamp(m, m, 1)", "round(m, m)", "year(1)", "absent(1)", "absent_over_time(m)", "timestamp(1)", "sort(1)",
            "info(1)", "month('a')")
    t.say("Matching.")
    t.fails("m and on (a) group_left n", "m or on (a) group_right n", "m unless ignoring (a) group_left n",
            "m + on (a) group_left (a) n", "m + on (a, b) group_right (b) n", "m + group_left n", "m * ignoring (a) m",
            "m * on () m", "m + on (b) group_left m", "m == on () m")
    t.say("Selectors.")
    t.fails("{}", "{a=''}", "{a=~'.*'}", "{a!='x'}", "{a=~'x?'}", "{__name__=''}", "{__name__=~'.*'}",
            "m{__name__='n'}", "{a=~'('}", "m{a=~'['}", "m{a!~'*'}", "m{a=~'\\\\'}", "m{a=~'(?<n'}", "m{a=~'a**'}",
            "m{a=~'(?z)'}", "{a='', b=''}", "{a=~'', b!~'.+'}")
    t.say("In a range query only scalars and instant vectors.")
    t.fails("m[5m]", "'a'", "m[5m:1m]", "m[5m] offset 1m", times="0 5m 1m")
    t.say("And these are fine after all.")
    for query in ["m", "(m)", "((m))", "m{}", "m{a='1',}", "m + on (a) n", "sum(m) by (a)", "sum by () (m)",
                  "sum without () (m)", "m offset 30s", "m @ 30", "1 == bool 1", "m # with a comment", "-1",
                  "--m", "m or n", "sum by (a, a) (m)", "m > bool 1"]:
        t.at("5m", query)
    t.at("5m", "time", "step", "start", "end", "range", "rate", "abs", "scalar", "vector", "bottom", "inform", "andy",
         "offsets", "nano", gives="", why="Names of functions are no reserved words.")


def annotations():
    t = Topic("annotations", "Warnings and infos beside an answer.")
    t.load("30s", """
        m{a="1"} 1x20
        m{a="2"} 2x20
        calls_total 0+3x20
        gauge_total 5x20
        plain 0+1x20
        wait_bucket{le="1"} 5x20
        wait_bucket{le="2"} 3x20
        wait_bucket{le="+Inf"} 9x20
        sick_bucket{le="1"} 5x20
        sick_bucket{le="two"} 7x20
        sick_bucket{le="+Inf"} 9x20
        hist{a="1"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}+{{schema:0 sum:5 count:4 buckets:[1 2 1]}}x20
        hist{a="2"} {{schema:0 sum:5 count:4 buckets:[1 2 1] counter_reset_hint:gauge}}x20
        both 1 2 3 4 5 6 7 {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x12
    """)
    t.say("A quantile outside of 0..1.")
    for phi in ["-1", "1.1", "NaN", "Inf"]:
        t.at("5m", f"quantile({phi}, m)", f"quantile_over_time({phi}, m[5m])",
             f"histogram_quantile({phi}, wait_bucket)", expects=["warn"])
    t.at("5m", "quantile(0.5, m)", "quantile_over_time(0, m[5m])", "quantile(1, m)", expects=["no_warn"])
    t.say("A bound that is no number.")
    t.at("5m", "histogram_quantile(0.5, sick_bucket)", expects=["warn"])
    t.at("5m", "histogram_quantile(0.5, m)", gives="")
    t.say("Counts that fall.")
    t.at("5m", "histogram_quantile(0.9, wait_bucket)", expects=["info"])
    t.say("Histograms beside floats.")
    t.at("5m", "sum({__name__=~'m|hist'})", "avg({__name__=~'m|hist'})", "sum by (a) ({__name__=~'m|hist'})", gives="",
         expects=["warn"])
    t.at("5m", "max({__name__=~'m|hist'})", gives="{} 2", expects=["info"])
    t.at("5m", "min(hist)", "stddev(hist)", "quantile(0.5, hist)", "topk(1, hist)", "hist + 1", "hist > 1", "hist == 4",
         "1 - hist", "hist * hist", "hist ^ 2", "hist == bool 1", "hist < hist", gives="", expects=["info"])
    t.at("4m", "rate(both[3m])", "increase(both[3m])", "delta(both[3m])", "sum_over_time(both[3m])",
         "avg_over_time(both[3m])", gives="", expects=["warn"])
    t.at("3m40s", "irate(both[1m])", "idelta(both[1m])", gives="", expects=["warn"])
    t.at("4m", "max_over_time(both[3m])", "min_over_time(both[3m])", "stddev_over_time(both[3m])", "deriv(both[3m])",
         expects=["info"])
    t.say("Functions of counters on gauge histograms and the other way round.")
    t.at("5m", "rate(hist{a='2'}[2m])", "increase(hist{a='2'}[2m])", "delta(hist{a='1'}[2m])", expects=["warn"])
    t.at("5m", "delta(hist{a='2'}[2m])", "rate(hist{a='1'}[2m])", expects=["no_warn"])
    t.say("No note where nothing is odd.")
    t.at("5m", "m", "sum(m)", "rate(calls_total[2m])", "m + 1", "hist * 2", "hist + hist", "histogram_count(hist)",
         "max(m)", "sum(hist{a='1'})", "histogram_quantile(0.5, hist{a='1'})", "count({__name__=~'m|hist'})",
         "max_over_time(m[2m])", "abs(hist)", "hist == hist", expects=["no_warn", "no_info"])
    t.over("0 5m 1m", "quantile(2, m)", "histogram_quantile(-1, wait_bucket)", expects=["warn"])
    t.over("0 5m 1m", "max({__name__=~'m|hist'})", "hist + 1", expects=["info"])


def metricsql():
    t = Topic("metricsql", "From MetricsQL: keep_metric_names and default.")
    t.load("30s",
           'in_total{p="a"} 0+3x20\nin_total{p="b"} 0+6x20\nholes{p="a"} 1 _ _ stale 5 stale _ 8 9 stale _ 7\nfull{p="a"} 0.5x20')
    for expr in ["rate(in_total[2m])", "abs(in_total)", "max_over_time(in_total[1m])", "clamp(in_total, 0, 50)",
                 "round(in_total, 5)"]:
        t.at("5m7s", f"{expr} keep_metric_names")
    t.at("5m7s", "rate(in_total[2m]) keep_metric_names", gives='in_total{p="a"} 0.1\nin_total{p="b"} 0.2')
    t.at("5m7s", "sum by (__name__) (rate(in_total[2m]) keep_metric_names)", gives="in_total 0.30000000000000004")
    t.over("1m7s 3m7s 1m", "increase(in_total[1m]) keep_metric_names")
    t.at("5m7s", "in_total default in_total", "full default holes")


errors()
annotations()
metricsql()
