"""Functions of single values: mathematics, dates, sorting, scalars; literals."""


from topic import Topic

NUMBERS = """
    x{is="zero"} 0x20
    x{is="minus zero"} -0x20
    x{is="half"} 0.5x20
    x{is="minus half"} -0.5x20
    x{is="one"} 1x20
    x{is="minus one"} -1x20
    x{is="two and a half"} 2.5x20
    x{is="minus three and a half"} -3.5x20
    x{is="ten"} 10x20
    x{is="large"} 12345.678x20
    x{is="huge"} 1e300x20
    x{is="minus huge"} -1e300x20
    x{is="tiny"} 1e-300x20
    x{is="nan"} NaNx20
    x{is="inf"} Infx20
    x{is="minus inf"} -Infx20
    x{is="rising"} -5+0.75x20
"""


def mathematics():
    t = Topic("math", "Functions of each value; the name goes.")
    t.load("30s", NUMBERS)
    plain = "abs ceil floor exp ln log2 log10 sqrt sgn round deg rad".split()
    for name in plain:
        t.at("5m7s", f"{name}(x)", f"{name}(-x)", f"{name}(x{{is='rising'}})", f"{name}(x / 3)",
             f"sum({name}(x{{is!~'.*(nan|inf|huge)'}}))")
        t.over("0 10m 47s", f"{name}(x{{is='rising'}})")
        t.at("5m7s", f"{name}(nothing)", gives="")
        t.fails(f"{name}()", f"{name}(1)", f"{name}(x[5m])", f'{name}("a")')
        if name != "round":
            t.fails(f"{name}(x, 1)")
    for nearest in ["1", "5", "0.1", "0.25", "-2", "0", "100", "NaN", "Inf", "1e-3", "3"]:
        t.at("5m7s", f"round(x, {nearest})")
    t.at("5m7s", "round(x{is='two and a half'})", gives='{is="two and a half"} 3', why="Ties go up.")
    t.at("5m7s", "round(x{is='minus three and a half'})", gives='{is="minus three and a half"} -3')
    t.at("5m7s", "round(x{is='large'}, 0.1)", gives='{is="large"} 12345.7')
    t.say("""A limit that is NaN makes NaN, and an infinite one takes all but NaN. Where the two meet, in a NaN limit of an infinity
or an infinite limit of NaN, the documentation and Go's math.Max disagree; those are not asked.""")
    for low, high in [("0", "10"), ("-1", "1"), ("5", "-5"), ("2", "2")]:
        t.at("5m7s", f"clamp(x, {low}, {high})")
    for low, high in [("NaN", "1"), ("0", "NaN")]:
        t.at("5m7s", f'clamp(x{{is!~".*inf"}}, {low}, {high})')
    for low, high in [("-Inf", "Inf"), ("Inf", "Inf")]:
        t.at("5m7s", f'clamp(x{{is!="nan"}}, {low}, {high})')
    t.at("5m7s", "clamp(x, 5, -5)", gives="", why="The lower limit above the upper: nothing.")
    for limit, of in [("0", "x"), ("1", "x"), ("-2.5", "x"), ("NaN", 'x{is!~".*inf"}'), ("Inf", 'x{is!="nan"}'),
                      ("-Inf", 'x{is!="nan"}'), ("time()", "x"), ("scalar(x{is='ten'})", "x")]:  # fmt: skip
        t.at("5m7s", f"clamp_min({of}, {limit})", f"clamp_max({of}, {limit})")
    t.over("0 10m 47s", "clamp(x{is='rising'}, -1, 2)", "clamp_min(x{is='rising'}, time() / 100 - 3)",
           "clamp_max(x{is='rising'}, 1)")
    t.fails("clamp(x, 1)", "clamp(x)", "clamp(1, 0, 2)", "clamp_min(x)", "clamp_max(x, x)", "clamp(x, x, 1)",
            "round(x, x)", "round(x, 1, 2)", "clamp_min(1, x)")
    t.at("5m7s", "sqrt(abs(x))", "exp(ln(x))", "ln(exp(x))", "floor(x) + ceil(x)", "abs(x) == x", "x ^ 0.5", "2 ^ x",
         "x % 3", "-x % 3", "x % -3", "sgn(x) * abs(x)", "x * 0", "x / 0", "0 / x")


def trigonometry():
    t = Topic("trig", "Trigonometric functions, in radians; atan2; pi.")
    t.load("30s", NUMBERS)
    for name in "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh".split():
        big = '{is!~".*huge"}' if name in ("sin", "cos", "tan") else ""
        t.at("5m7s", f"{name}(x{big})", f"{name}(x{{is='rising'}} / 6)", f"{name}(rad(x{{is='ten'}}))",
             f"{name}(-x{big})")
        t.over("0 10m 2m", f"{name}(x{{is='rising'}} / 6)")
        t.at("5m7s", f"{name}(nothing)", gives="")
        t.fails(f"{name}(1)", f"{name}()", f"{name}(x, 1)")
    t.at("0", "pi()", gives="3.141592653589793")
    t.at("0", "pi() / 2 atan2 1", "1 atan2 1", "-1 atan2 -1", "0 atan2 -1", "1 atan2 0", "Inf atan2 Inf",
         "deg(vector(pi()))", "rad(vector(180))", "sin(vector(pi() / 6))")
    t.at("5m7s", "x atan2 x", "x atan2 1", "1 atan2 x", "x{is='ten'} atan2 x{is='ten'}", "x atan2 on (is) x",
         "deg(rad(x))")
    t.fails("pi(1)", "atan2(1, 2)")


def dates():
    t = Topic("dates", "Parts of dates, in UTC; without an argument of the evaluation time.")
    t.load("1m", """
        moment{is="epoch"} 0x20
        moment{is="leap day"} 1709208000x20
        moment{is="before the year"} 1704067199x20
        moment{is="new year"} 1704067200x20
        moment{is="no leap century"} 4107542400x20
        moment{is="leap century"} 951782400x20
        moment{is="fraction"} 1700000000.75x20
        moment{is="before the epoch"} -86401x20
        moment{is="before, fraction"} -0.5x20
        moment{is="far"} 32503680000x20
        moment{is="june"} 1719791999x20
    """)
    parts = "year month day_of_month day_of_week day_of_year days_in_month hour minute".split()
    for name in parts:
        t.at("5m7s", f"{name}(moment)", f"{name}(moment + 86400 * 45)", f"{name}(moment{{is='june'}} + 1)",
             f"{name}(vector(1234567890))", f"sum({name}(moment))")
        for time in ["0", "59s", "1h1m1s", "45d", "59d", "365d", "1000d13h37m"]:
            t.at(time, f"{name}()")
        t.over("0 40d 13d7h", f"{name}()", f"{name}(vector(time() * 11))")
        t.fails(f"{name}(1)", f"{name}(moment, moment)", f"{name}(moment[5m])")
        t.at("5m7s", f"{name}(nothing)", gives="")
    t.at("5m7s", "day_of_month(moment{is='leap day'})", gives='{is="leap day"} 29')
    t.at("5m7s", "day_of_week(moment{is='epoch'})", gives='{is="epoch"} 4', why="A Thursday; Sunday is 0.")
    t.at("5m7s", "hour(moment{is='before the epoch'})", gives='{is="before the epoch"} 23')
    t.at("5m7s", "minute(moment{is='before the epoch'})", gives='{is="before the epoch"} 59')
    t.say("time and timestamp.")
    for time in ["0", "1s", "90s", "1m500ms", "10d"]:
        t.at(time, "time()", "time() * 2", "vector(time())", "time() == bool 90", "-time()", "timestamp(vector(1))")
    t.over("0 10m 100s", "time()", "time() % 60", "vector(time()) > 250", "timestamp(moment{is='june'})",
           "timestamp(vector(5))")
    t.at("5m7s", "timestamp(moment)", "timestamp(moment * 1)", "timestamp((moment))", "timestamp(sum(moment))",
         "timestamp(timestamp(moment))", "time() - timestamp(moment{is='june'})",
         "timestamp(moment{is='june'} offset 90s)", "timestamp(moment{is='june'} @ 61)", "timestamp(-moment)",
         "timestamp(abs(moment))", "timestamp(nothing)", "sum(timestamp(moment))")
    t.at("5m7s", "timestamp(moment{is='june'})", gives='{is="june"} 300', why="Of a selector the sample's own time,")
    t.at("5m7s", "timestamp(moment{is='june'} * 1)", gives='{is="june"} 307',
         why="of any other expression the evaluation's.")
    t.fails("time(1)", "timestamp()", "timestamp(1)", "timestamp(moment[5m])")


def sorting():
    t = Topic("sorting", "sort, sort_desc, sort_by_label, sort_by_label_desc.")
    t.load("30s", """
        rank{who="ann", seat="2"} 3x20
        rank{who="bob", seat="10"} -1x20
        rank{who="cat", seat="1"} 12x20
        rank{who="dan", seat="12a"} 0.5x20
        rank{who="eve", seat="12b"} NaNx20
        rank{who="fox", seat=""} Infx20
        rank{who="gil", seat="7"} -Infx20
    """)
    ordered = ["ordered"]
    for query in ["rank", "-rank", "rank{who!='eve'}", "rank * 2", "rank offset 1m", "abs(rank{who=~'[abc].*'})"]:
        t.at("5m7s", f"sort({query})", f"sort_desc({query})", expects=ordered)
    t.at("5m7s", "sort(rank)", expects=ordered, gives="""
        rank{who="gil", seat="7"} -Inf
        rank{who="bob", seat="10"} -1
        rank{who="dan", seat="12a"} 0.5
        rank{who="ann", seat="2"} 3
        rank{who="cat", seat="1"} 12
        rank{who="fox"} Inf
        rank{who="eve", seat="12b"} NaN
    """, why="NaN goes last, in both directions; names stay.")
    t.at("5m7s", "sort_desc(rank{who=~'[abe].*'})", expects=ordered, gives="""
        rank{who="ann", seat="2"} 3
        rank{who="bob", seat="10"} -1
        rank{who="eve", seat="12b"} NaN
    """)
    t.at("5m7s", 'sort_by_label(rank, "who")', 'sort_by_label_desc(rank, "who")', 'sort_by_label(rank, "seat")',
         'sort_by_label_desc(rank, "seat")',
         'sort_by_label(rank, "nothing", "seat")', 'sort_by_label(rank, "nothing")',
         'sort_by_label(rank, "who", "seat")', expects=ordered)
    t.at("5m7s", 'sort_by_label(rank{seat=~"[0-9]+"}, "seat")', expects=ordered, gives="""
        rank{who="cat", seat="1"} 12
        rank{who="ann", seat="2"} 3
        rank{who="gil", seat="7"} -Inf
        rank{who="bob", seat="10"} -1
    """, why="Digits compare as numbers: the natural order.")
    t.over("1m 3m 1m", "sort(rank)", "sort_desc(rank)", 'sort_by_label(rank, "who")', "sort(sum by (who) (rank))")
    t.at("5m7s", "sort(nothing)", "sort_desc(nothing)", 'sort_by_label(nothing, "who")', gives="")
    t.at("5m7s", "sum(sort(rank{who=~'[abc].*'}))", "sort(rank) > 0", "count(sort_desc(rank))")
    t.fails("sort()", "sort(1)", "sort(rank, 1)", "sort_desc(rank[5m])", "sort_by_label(1)", "sort_by_label(rank, 1)",
            "sort_by_label_desc(rank, rank)")


def literals():
    t = Topic("literals", "Numbers, strings, scalar and vector.")
    for query, answer in [
        ("0", "0"), ("1", "1"), ("1.", "1"), (".5", "0.5"), ("1e3", "1000"), ("1E-2", "0.01"), ("1e+2", "100"),
        ("0x1f", "31"), ("0xFF", "255"),
        ("Inf", "Inf"), ("inf", "Inf"), ("+Inf", "Inf"), ("-Inf", "-Inf"), ("NaN", "NaN"), ("nan", "NaN"),
        ("iNf", "Inf"), ("1_000", "1000"),
        ("9007199254740993", "9007199254740992"), ("(1)", "1"), ("((2))", "2"), ("-1", "-1"), ("5e-324", "5e-324"),
        ("0.1 + 0.2", "0.30000000000000004"),
    ]:  # fmt: skip
        if answer is not None:
            t.at("0", query, gives=answer)
    for query in ['"plain"', "'single'", "`raw \\n`", r'"tab\tline\nquote\""', r"'it\'s'", r'"\x41\u00e9\101"', '""',
                  '"ünïcode ☃"', r'"back\\slash"']:
        t.at("0", query)
    t.at("0", "vector(1)", "vector(NaN)", "vector(1 + 1)", "scalar(vector(3))", "vector(scalar(vector(3)))",
         "vector(-Inf)", "scalar(vector(1)) + 1")
    t.load("30s", "one{a='1'} 5+1x20\nmany{a='1'} 1x20\nmany{a='2'} 2x20")
    t.at("5m7s", "scalar(one)", gives="15")
    t.at("5m7s", "scalar(many)", "scalar(nothing)", gives="NaN", why="Only of exactly one element.")
    t.at("5m7s", "scalar(one) + many", "vector(scalar(one))", "scalar(sum(many))", "many * scalar(one)",
         "scalar(many{a='2'})", "scalar(one > 100)", "many / scalar(nothing)", "vector(scalar(many))",
         "one == scalar(one)", "scalar(count(many)) == bool 2", "many > scalar(many{a='1'})", "one + one", "(one)",
         "((one)) + ((one))", "one  +   one")
    t.over("0 10m 2m", "scalar(one)", "vector(1)", "1", "scalar(many)", "NaN", "time() + scalar(one)", "vector(time())",
           "scalar(nothing)")
    t.fails("scalar()", "scalar(1)", "vector(one)", "vector()", 'vector("1")', "scalar(one[5m])", "vector(1, 2)",
            time="5m7s")


mathematics()
trigonometry()
dates()
sorting()
literals()
