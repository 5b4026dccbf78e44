"""Labels: selectors, label_replace, label_join, names of any alphabet, when the metric's name goes, info."""


from topic import Topic

DESKS = r"""
    desk{room="1-01", side="left", owner="ann:ops"} 1x20
    desk{room="1-02", side="right", owner="bob:dev"} 2x20
    desk{room="2-11", side="left", owner="cat"} 3x20
    desk{room="2-12", owner="two\nlines"} 4x20
    chair{room="1-01", side="left"} 5x20
    chair{room="9-99", side=""} 6x20
    lamp 7x20
"""


def selectors():
    t = Topic("selectors", "Selectors: =, !=, =~, !~; expressions are anchored; a missing label is the empty one.")
    t.load("30s", DESKS)
    for query in [
        "desk", '{__name__="desk"}', '{__name__=~"desk|lamp"}', '{__name__!="desk", room=~".+"}',
        '{__name__=~"de.*", __name__!~"x.*"}',
        'desk{side="left"}', 'desk{side!="left"}', 'desk{side=""}', 'desk{side!=""}', 'desk{side=~""}',
        'desk{side=~".*"}', 'desk{side=~".+"}', 'desk{side!~".+"}',
        'desk{nothing=""}', 'desk{nothing!=""}', 'desk{nothing=~".*"}', 'desk{nothing!="x"}', 'desk{room=~"1"}',
        'desk{room=~"1.*"}', 'desk{room=~".*1"}', 'desk{room=~"1-0[12]"}',
        'desk{room=~"1-01|2-11"}', 'desk{room!~"1-01|2-11"}', 'desk{room=~"(1|2)-.1"}', 'desk{room=~"[0-9]-\\\\d+"}',
        "desk{room=~'\\\\d-1\\\\d'}", "desk{room=~`\\d-1\\d`}",
        'desk{room=~"1.*", side="left"}', 'desk{room=~"1.*", room!~".*2"}', 'desk{room="1-01", room="1-02"}',
        'desk{side=~"LEFT"}', 'desk{side=~"(?i:LEFT)"}', 'desk{side=~"(?i)left"}',
        'desk{owner=~"two.lines"}', 'desk{owner=~"two.*"}', 'desk{owner="two\\nlines"}', 'desk{owner!~"two.lines"}',
        'desk{owner=~".*:.*"}', 'desk{owner=~"[^:]*"}', 'desk{owner=~"two\\\\nlines"}',
        '{room="1-01"}', '{room=~"1.*"}', '{side="left"}', "desk{}", "lamp{}", "desk{room='1-01',}",
        "desk { room = '1-01' , side = 'left' }", 'desk{room=~"^1-01$"}', 'desk{room=~""}', "chair{side=''}",
        "chair{side!='left'}", "nothing", 'desk{room=~"a{2}"}', 'desk{room=~"x*"}', 'desk{side=~"left|"}',
        'desk{side!~"left|"}', 'desk{owner=~"(ann|bob):(ops|dev)"}', "desk{room=~'1-01|'}",
        "{__name__=~'(desk|chair)', room='1-01'}", "{room=~'.+'}", "{side=~'left|right', __name__='desk'}",
    ]:  # fmt: skip
        t.at("5m7s", query)
    t.at("5m7s", 'desk{owner=~"two.lines"}', gives='desk{room="2-12", owner="two\\nlines"} 4',
         why="`.` matches a newline.")
    t.at("5m7s", 'desk{room=~"1-0"}', gives="", why="Anchored at both ends.")
    t.at("5m7s", 'desk{side!="left"}',
         gives='desk{room="1-02", side="right", owner="bob:dev"} 2\ndesk{room="2-12", owner="two\\nlines"} 4')
    t.over("0 3m 1m", 'desk{side=~"left|"}', '{__name__=~".*", side="right"}', "sum by (side) ({room=~'.+'})",
           "count({__name__=~'desk|chair|lamp'})")
    t.fails("{}", "desk{__name__=~'desk'}", "{__name__=''}", '{side=~".*"}', '{side=""}', '{side!="x"}',
            '{side=~"", room=~".*"}', 'desk{__name__="x"}', 'desk{side=left}', 'desk{side}', 'desk{side="left"',
            "desk{side=~'('}", "desk{side=~'*'}",
            "desk{side=='left'}", "desk{side='left' room='x'}", "desk{=''}", "desk{'x'='y'=}", "desk side",
            "desk{side=~'[a'}", "desk{,}", "1desk", "desk{side=1}", "desk{}{}", "desk[5m]{}", "{side=~'x*'}",
            "desk{side=~'a(?=b)'}")


def label_functions():
    t = Topic("labels", "label_replace and label_join.")
    t.load("30s", DESKS)
    for target, template, source, pattern in [
        ("floor", "$1", "room", "(\\\\d)-.*"), ("floor", "level $1", "room", "(.)-(.*)"),
        ("both", "$2/$1", "room", "(.)-(.*)"), ("both", "${2}x$1", "room", "(.)-(.*)"),
        ("both", "$1x", "room", "(.)-(.*)"),
        ("floor", "$3", "room", "(.)-(.*)"), ("room", "", "room", ".*"), ("side", "", "side", "left"),
        ("side", "up", "side", ""), ("side", "up", "side", "left"), ("side", "$0", "room", ".*"),
        ("new", "fixed", "nothing", ".*"),
        ("new", "fixed", "nothing", ".+"), ("new", "fixed", "nothing", ""),
        ("who", "$name", "owner", "(?P<name>[^:]*):.*"), ("who", "${name}!", "owner", "(?P<name>[^:]*):(?P<team>.*)"),
        ("who", "$team", "owner", "(?P<name>[^:]*):(?P<team>.*)"),
        ("who", "$$1", "owner", "(.*)"), ("owner", "$1", "owner", "two(.)lines"),
        ("owner", "one line", "owner", "two.*"), ("owner", "$1", "owner", "(.*)"), ("room", "$1", "room", "1"),
        ("x", "$1-$1", "side", "(l|r).*"),
        ("__name__", "seat", "room", "1.*"), ("__name__", "$1_$2", "__name__", "(d)(e).*"),
        ("copy", "$1", "__name__", "(.*)"), ("x", "a$1b", "side", "(left)?.*"), ("x", "ü$1", "side", "(.*)"),
    ]:  # fmt: skip
        t.at("5m7s", f'label_replace(desk, "{target}", "{template}", "{source}", "{pattern}")')
    t.at("5m7s", 'label_replace(desk{room="1-01"}, "floor", "$1", "room", "(.)-.*")',
         gives='desk{floor="1", room="1-01", side="left", owner="ann:ops"} 1')
    t.at("5m7s", 'label_replace(desk{room="1-01"}, "floor", "$1", "room", "(.)-")',
         gives='desk{room="1-01", side="left", owner="ann:ops"} 1', why="The expression must match the whole value.")
    t.at("5m7s", 'label_replace(desk{room="1-01"}, "side", "", "side", ".*")',
         gives='desk{room="1-01", owner="ann:ops"} 1', why="A label of no value is none.")
    t.at("5m7s", 'label_replace(vector(1), "a", "b", "", "")', 'label_replace(vector(1), "a", "$1", "x", "(.*)")',
         'label_replace(desk, "floor", "$1", "room", "(.).*") * on (floor) group_left () label_replace(vector(2), "floor", "1", "", "")',
         'sum by (floor) (label_replace(desk, "floor", "$1", "room", "(.)-.*"))',
         'label_replace(label_replace(desk, "a", "$1", "room", "(.).*"), "b", "$1$1", "a", "(.)")',
         'label_replace(nothing, "a", "b", "c", "d")',
         'label_replace(desk + 0, "side", "x", "side", "left")', 'label_replace(sum(desk), "total", "yes", "", "")',
         'label_replace(desk offset 1m, "a", "b", "", "")', "label_replace(desk, 'a', `$1`, 'room', `(\\d)-\\d+`)")
    t.over("0 3m 1m", 'label_replace(desk, "floor", "$1", "room", "(.)-.*")',
           'sum by (x) (label_replace(desk, "x", "$1", "owner", ".*:(.*)"))')
    t.fails('label_replace(chair, "room", "same", "room", ".*") and label_replace(chair{room="1-01"}, "side", "", "room", ".*", "")', 'label_replace(desk, "a", "b", "c", "(")', 'label_replace(desk, "", "b", "c", "d")',
            'label_replace(desk, "a", "b", "c")', 'label_replace(desk, "a", "b", "c", 1)',
            'label_replace(1, "a", "b", "c", "d")', "label_replace(desk, a, b, c, d)",
            'label_replace(desk[5m], "a", "b", "c", "d")', 'label_replace(desk, "a", "b", "c", "*")')
    t.load("30s",
           'twin{n="1"} 1x20\ntwin{n="2"} 2x20\nmixed{a="x", b="y", c="z"} 1x20\nmixed{a="p", c="q"} 2x20\nmixed 3x20')
    t.fails('label_replace(twin, "n", "same", "n", ".*")', 'label_replace(twin, "n", "", "n", ".*")',
            'label_join(twin, "n", "-", "x")', 'label_join(twin, "n", "-")', time="5m7s",
            why="Two elements with one set of labels.")
    for args in ['"d", "-", "a", "b", "c"', '"d", "", "a", "c"', '"d", ", ", "a"', '"d", "-", "b"',
                 '"a", "+", "a", "c"', '"b", "-", "c", "a", "c"', '"d", "-", "nothing"', '"d", "-", "nothing", "a"',
                 '"c", "", "nothing"',
                 '"__name__", "_", "__name__", "a"', '"d", "ü", "a", "c"', '"d", "-", "__name__", "b"',
                 '"d", "-"']:  # fmt: skip
        t.at("5m7s", f"label_join(mixed, {args})")
    t.at("5m7s", 'label_join(mixed{b="y"}, "d", "-", "a", "b", "c")', gives='mixed{a="x", b="y", c="z", d="x-y-z"} 1')
    t.at("5m7s", 'label_join(mixed{a="p"}, "d", "-", "a", "b", "c")', gives='mixed{a="p", c="q", d="p--q"} 2',
         why="A missing label joins as the empty one.")
    t.at("5m7s", 'sum by (d) (label_join(mixed, "d", "-", "a", "c"))', 'label_join(mixed * 2, "d", "-", "a")',
         'label_join(nothing, "d", "-", "a")', 'label_join(vector(1), "d", "-", "a")')
    t.over("0 3m 1m", 'label_join(mixed, "d", "/", "a", "b")')
    t.fails("label_join(mixed)", 'label_join(mixed, "d")', 'label_join(1, "d", "-", "a")',
            'label_join(mixed, "", "-", "a")', 'label_join(mixed, "d", 1, "a")', 'label_join(mixed, "d", "-", a)',
            time="5m7s")


def utf8_names():
    t = Topic("utf8_names", "Names of metrics and labels of any alphabet, quoted.")
    t.load("30s", """
        {"disk.usage", "host.name"="db-1", "mount point"="/"} 1+1x20
        {"disk.usage", "host.name"="db-2", "mount point"="/var"} 5x20
        {"größe", art="kühl"} 2x20
        {"größe", art="warm", "ort-1"="süd"} 3x20
        {"with \\"quotes\\""} 9x20
        {"温度", "城市"="北京"} 4x20
        plain{"dotted.label"="x"} 8x20
    """)
    for query in [
        '{"disk.usage"}', '{"disk.usage", "host.name"="db-1"}', '{"disk.usage", "host.name"!="db-1"}',
        '{"disk.usage", "mount point"=~"/.+"}', '{"größe"}', '{"größe", "ort-1"=""}', '{"größe", art="kühl"}', '{"温度"}',
        '{"温度", "城市"="北京"}',
        '{"城市"=~".+"}', '{"with \\"quotes\\""}', "{'disk.usage'}", "{`disk.usage`}", '{"plain"}',
        '{"plain", "dotted.label"="x"}', 'plain{"dotted.label"="x"}', 'plain{"dotted.label"=~"x|y"}',
        '{__name__="disk.usage"}', '{__name__=~"disk.*"}',
        '{"host.name"="db-1"}', 'sum({"disk.usage"})', 'sum by ("host.name") ({"disk.usage"})',
        'sum without ("host.name") ({"disk.usage"})', 'sum by ("mount point", "host.name") ({"disk.usage"})',
        'rate({"disk.usage"}[2m])',
        'max_over_time({"disk.usage", "host.name"="db-1"}[2m])', '{"disk.usage"} * on ("host.name") {"disk.usage"}',
        '{"disk.usage"} + ignoring ("mount point") {"disk.usage"}', 'count by ("城市") ({"温度"})', '{"größe"} or {"温度"}',
        '{"disk.usage"} * on ("host.name") group_left ("mount point") {"disk.usage"}',
        'label_replace({"größe"}, "neu.label", "$1", "art", "(.*)")',
        'label_join({"disk.usage"}, "zusammen gesetzt", "-", "host.name", "mount point")',
        'absent({"nicht.da", "a.b"="c"})', '{"disk.usage"} offset 1m', '{"disk.usage"} @ 60',
        '{"disk.usage", "host.name"="db-1"} > 5', 'topk(1, {"disk.usage"})', '-{"größe"}',
        'count_values("wert.e", {"größe"})', 'sort_by_label({"größe"}, "ort-1")',
        '{"dis.k"}', 'abs({"größe"})', 'sum_over_time({"disk.usage"}[3m:1m])', 'sum by (art) ({"größe"})',
        'label_replace(plain, "x", "$1", "dotted.label", "(.*)")', 'sum by ("art") ({"größe"})',
        'plain{"dotted.label"="x", }',
    ]:  # fmt: skip
        t.at("5m7s", query)
    t.at("5m7s", '{"disk.usage", "host.name"="db-1"}', gives='{"disk.usage", "host.name"="db-1", "mount point"="/"} 11')
    t.over("0 3m 1m", '{"disk.usage"}', 'sum by ("host.name") ({"disk.usage"})', '{"größe"}',
           'rate({"disk.usage"}[1m30s])')
    t.say("Whether such a name may also stand without quotes is a matter of flags in Prometheus, and not asked here.")
    t.fails('"disk.usage"{}', '{"a", "b"}', 'plain{"other"}', '{"disk.usage" "host.name"="db-1"}', '{"a"',
            '{"disk.usage"="x", "y"=}', '{"a", __name__="b"}', 'sum by (a b) ({"disk.usage"})', '{"a""b"}')


def name_removal():
    t = Topic("name_removal", "The metric's name goes at the end of the query, not in its middle.")
    t.load("30s", 'in_total{p="a"} 0+3x20\nin_total{p="b"} 0+6x20\nout_total{p="a"} 0+9x20\ngauge{p="a"} 5x20')
    t.at("5m7s", 'sum by (p) (rate({__name__=~"(in|out)_total"}[2m]))', gives='{p="a"} 0.4\n{p="b"} 0.2',
         why="In the middle of the query in_total and out_total are still two series.")
    t.at("5m7s", 'count(rate({__name__=~"(in|out)_total"}[2m]))', gives="{} 3")
    t.fails('rate({__name__=~"(in|out)_total"}[2m])', '-{__name__=~"(in|out)_total"}', '{__name__=~".+"} * 2',
            'abs({p="a"})', time="5m7s", why="At the end they would be one.")
    t.at("5m7s", 'label_replace(rate({__name__=~"(in|out)_total"}[2m]), "of", "$1", "__name__", "(.*)_total")',
         gives="""
        {p="a", of="in"} 0.1
        {p="b", of="in"} 0.2
        {p="a", of="out"} 0.3
    """, why="The name can still be read.")
    t.at("5m7s",
         'label_replace(rate({__name__=~"(in|out)_total"}[2m]), "__name__", "$1:rate", "__name__", "(.*)_total")',
         gives="""
        in:rate{p="a"} 0.1
        in:rate{p="b"} 0.2
        out:rate{p="a"} 0.3
    """, why="And kept by a replacement.")
    t.at("5m7s", "sum by (__name__) (rate(in_total[2m]))", gives="{} 0.30000000000000004",
         why="One may group by a name that is still there; it goes all the same.")
    t.fails('sum by (__name__) (rate({__name__=~"(in|out)_total"}[2m]))', time="5m7s",
            why="Two groups, that are both without a label in the end.")
    t.at("5m7s", 'sum without (p) (rate({__name__=~"(in|out)_total"}[2m]))', gives="{} 0.6")
    t.at("5m7s", "rate(in_total[2m]) > 0.15", "rate(in_total[2m]) > 0.15 and in_total", gives='{p="b"} 0.2',
         why="A filter and a set operator keep nothing that is to go.")
    t.at("5m7s", "in_total and rate(in_total[2m]) > 0.15", gives='in_total{p="b"} 60')
    t.at("5m7s", 'label_replace(in_total + 0, "was", "$1", "__name__", "(.*)")', gives="""
        {p="a", was="in_total"} 30
        {p="b", was="in_total"} 60
    """)
    t.at("5m7s", 'label_join(rate(in_total[2m]), "__name__", "_", "p", "__name__")',
         gives='a_in_total{p="a"} 0.1\nb_in_total{p="b"} 0.2')
    t.at("5m7s", 'max by (p) (-{__name__=~"(in|out)_total"})', gives='{p="a"} -30\n{p="b"} -60')
    t.at("5m7s", 'sum(abs({p="a"}))', 'avg(2 * {p="a"})', 'topk(1, {p="a"} * 1) by (p)', 'sum({p="a"} > bool 4)',
         'count(timestamp({p="a"}))', 'max(deriv({p="a"}[2m]))', 'quantile(0.5, increase({p="a"}[2m]))')
    t.at("5m7s", "last_over_time(in_total[1m])", "first_over_time(in_total[1m])", "in_total > 5",
         "in_total and in_total", "topk(1, in_total)", "sort(in_total)", "in_total offset 1m", "+in_total",
         "in_total or gauge", "max(in_total)", "(in_total)",
         "in_total unless gauge", "in_total == in_total", "limitk(2, in_total)", why="These keep it.")
    for name in ["rate", "increase", "max_over_time", "changes", "deriv", "count_over_time", "present_over_time",
                 "idelta"]:
        t.at("5m7s", f"{name}(in_total[2m])", f"count({name}({{p='a'}}[2m]))")
    for expr in ["abs(in_total)", "in_total + 1", "in_total * in_total", "-in_total", "in_total > bool 3",
                 "timestamp(in_total)", "clamp(in_total, 0, 5)", "in_total == bool in_total", "round(in_total)",
                 "in_total % gauge", "sgn(in_total)", "year(in_total)"]:
        t.at("5m7s", expr, f"sum by (p) ({expr})", f"({expr}) or in_total", f"max_over_time(({expr})[2m:1m])")
    t.over("1m7s 5m7s 1m", 'sum by (p) (rate({__name__=~"(in|out)_total"}[1m]))', "rate(in_total[1m])", "-in_total",
           "in_total > 10")


def info():
    t = Topic("info", "info(): the data labels of info series that share instance and job.")
    t.load("30s", """
        calls_total{instance="a", job="1", path="/x"} 0+3x20
        calls_total{instance="a", job="1", path="/y"} 0+6x20
        calls_total{instance="b", job="1", path="/x"} 0+9x20
        calls_total{instance="z", job="1", path="/x"} 0+1x20
        target_info{instance="a", job="1", region="north", build="7"} 1x20
        target_info{instance="b", job="1", region="south"} 1x20
        build_info{instance="a", job="1", commit="c0ffee"} 1x20
        other_info{instance="b", job="1", region="west"} 1x20
    """)
    t.at("5m7s", "info(calls_total)", gives="""
        calls_total{instance="a", job="1", path="/x", region="north", build="7"} 30
        calls_total{instance="a", job="1", path="/y", region="north", build="7"} 60
        calls_total{instance="b", job="1", path="/x", region="south"} 90
        calls_total{instance="z", job="1", path="/x"} 10
    """, why="Without a match a series stays as it is.")
    t.at("5m7s", 'info(calls_total, {region=~".+"})', gives="""
        calls_total{instance="a", job="1", path="/x", region="north"} 30
        calls_total{instance="a", job="1", path="/y", region="north"} 60
        calls_total{instance="b", job="1", path="/x", region="south"} 90
    """, why="Only the labels that are asked for; a series that lacks a required one goes.")
    t.at("5m7s", 'info(calls_total, {__name__="build_info"})', gives="""
        calls_total{instance="a", job="1", path="/x", commit="c0ffee"} 30
        calls_total{instance="a", job="1", path="/y", commit="c0ffee"} 60
        calls_total{instance="b", job="1", path="/x"} 90
        calls_total{instance="z", job="1", path="/x"} 10
    """)
    t.at("5m7s", 'info(rate(calls_total[2m]), {region=~".+"})', gives="""
        {instance="a", job="1", path="/x", region="north"} 0.1
        {instance="a", job="1", path="/y", region="north"} 0.2
        {instance="b", job="1", path="/x", region="south"} 0.3
    """)
    t.at("5m7s", 'sum by (region) (info(calls_total, {region=~".+"}))',
         gives='{region="north"} 90\n{region="south"} 90')
    t.at("5m7s", 'info(calls_total{instance="a"}, {build="7"})', 'info(calls_total{instance="a"}, {build="8"})',
         "info(nothing)", 'info(calls_total{path="/y"})', "info(target_info)",
         'info(calls_total{instance="b"}, {region="south"})')
    t.over("1m7s 3m7s 1m", "info(calls_total)", 'info(calls_total, {region=~".+"})')
    t.at("5m7s", 'info(calls_total{path="/x"}, {__name__=~"(target|build)_info"})', gives="""
        calls_total{instance="a", job="1", path="/x", region="north", build="7", commit="c0ffee"} 30
        calls_total{instance="b", job="1", path="/x", region="south"} 90
        calls_total{instance="z", job="1", path="/x"} 10
    """)
    t.at("5m7s", 'info(calls_total{path="/x"}, {region=~".*"})', gives="""
        calls_total{instance="a", job="1", path="/x", region="north"} 30
        calls_total{instance="b", job="1", path="/x", region="south"} 90
        calls_total{instance="z", job="1", path="/x"} 10
    """, why="What matches the empty label requires nothing.")
    t.fails('info(calls_total, {__name__=~"(target|other)_info"})', time="5m7s",
            why="Two info metrics tell of one label, and differ.")
    t.fails("info()", "info(1)", "info(calls_total, 1)", "info(calls_total[5m])", time="5m7s")


selectors()
label_functions()
utf8_names()
name_removal()
info()
