"""Operators: arithmetic, comparisons, sets, matching, grouping, precedence."""

from itertools import product

from topic import Topic

ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]

SHOP = """
    sold{shop="north", kind="tea"} 1+1x40
    sold{shop="north", kind="oil"} 40-1x40
    sold{shop="south", kind="tea"} 2+3x40
    sold{shop="south", kind="oil"} 7x40
    price{shop="north", kind="tea"} 2.5x40
    price{shop="north", kind="oil"} 4x40
    price{shop="south", kind="tea"} 2.25x40
    price{shop="east", kind="tea"} 9x40
    staff{shop="north", town="Ulm"} 4+0.25x40
    staff{shop="south", town="Bonn"} 3x40
    staff{shop="west", town="Kiel"} 2x40
"""


def operators():
    t = Topic("operators", "Arithmetic between scalars and vectors; precedence; unary minus.")
    t.say("Between scalars: IEEE 754, the remainder with the sign of the dividend.")
    pairs = [("7", "2"), ("-7", "2"), ("7", "-2"), ("-7.5", "-2"), ("0", "3"), ("3", "0"), ("-3", "0"), ("0", "0")]
    pairs += [("2", "0.5"), ("-2", "0.5"), ("1e300", "1e300"), ("Inf", "2"), ("2", "Inf"), ("Inf", "-Inf"),
              ("NaN", "1"), ("0", "-Inf")]
    for (a, b), op in product(pairs, ARITHMETIC):
        t.at("0", f"{a} {op} {b}" if not b.startswith("-") else f"{a} {op} ({b})")
    t.say("Precedence: ^ (to the right), then * / % atan2, + -, comparisons, and unless, or. Minus binds like *.")
    for query, answer in [
        ("2 ^ 3 ^ 2", "512"), ("(2 ^ 3) ^ 2", "64"), ("-2 ^ 2", "-4"), ("(-2) ^ 2", "4"), ("2 ^ -1", "0.5"),
        ("-1 * 2", "-2"), ("2 * 3 % 2", "0"), ("2 * (3 % 2)", "2"), ("1 - 2 - 3", "-4"), ("1 - (2 - 3)", "2"),
        ("2 + 3 * 4 ^ 2", "50"), ("12 / 3 / 2", "2"), ("12 / (3 / 2)", "8"), ("1 + 2 == bool 3", "1"),
        ("1 + (2 == bool 3)", "1"), ("1 > bool 2 < bool 3", "1"), ("+1", "1"), ("--1", "1"), ("-+-1", "1"),
        ("1 --1", "2"), ("1 + on () 2", "3"), ("1 + ignoring () 2", "3"), ("10 % 4 * 2", "4"), ("2 * 3 atan2 6", "0.7853981633974483"), ("-0", "-0"),
    ]:  # fmt: skip
        t.at("0", query, gives=answer)
    t.load("30s", SHOP)
    t.say("Between a vector and a scalar; the name goes.")
    for op, scalar in product(ARITHMETIC, ["2", "0", "-1.5", "NaN"]):
        t.at("5m7s", f"sold {op} {scalar}", f"{scalar} {op} sold")
    t.over("1m7s 5m7s 1m", *(f"sold{{kind='tea'}} {op} 3" for op in ARITHMETIC))
    t.say("Between vectors: where all labels but the name are equal. east sells nothing, south has no price for oil.")
    t.at("5m7s", *(f"sold {op} price" for op in ARITHMETIC))
    t.over("1m7s 5m7s 1m", *(f"sold {op} price" for op in ARITHMETIC))
    t.at("5m7s", "sold * price", gives="""
        {shop="north", kind="tea"} 27.5
        {shop="north", kind="oil"} 120
        {shop="south", kind="tea"} 72
    """, why="Ten steps of 30 s: tea 11 * 2.5, oil 30 * 4, tea 32 * 2.25.")
    t.at("5m7s", "-sold", "+sold", "- -sold", "-(sold - sold)", "-sold ^ 2", "2 * -sold", "sold + sold + sold",
         "-time()")
    t.at("5m7s", "sold + nothing", "nothing + sold", "nothing - nothing", "nothing * 2", gives="",
         why="No element, no answer.")
    t.at("5m7s", "sold / price + sold % price * 2 - price ^ 2", "(sold + price) * (sold - price)",
         "1 / sold - 1 / price")
    t.at("5m7s", "sold + sold offset 1m", "sold - sold offset 30s", "time() - sold", "sold / time()")


def comparison_bool():
    t = Topic("comparison_bool", "Comparisons filter; with bool they answer 0 or 1 and the name goes.")
    pairs = [("1", "2"), ("2", "1"), ("2", "2"), ("-1", "1"), ("0", "-0"), ("Inf", "Inf"), ("NaN", "NaN"), ("NaN", "1")]
    for (a, b), op in product(pairs, COMPARISONS):
        t.at("0", f"{a} {op} bool {b}")
    t.load("30s", SHOP + """
        odd{kind="nan"} NaNx40
        odd{kind="inf"} Infx40
        odd{kind="low"} -Infx40
        odd{kind="zero"} 0x40
    """)
    for op, scalar in product(COMPARISONS, ["7", "30", "-1"]):
        t.at("5m7s", f"sold {op} {scalar}", f"{scalar} {op} sold", f"sold {op} bool {scalar}")
    for op, scalar in product(COMPARISONS, ["NaN", "Inf", "-Inf", "0"]):
        t.at("5m7s", f"odd {op} {scalar}", f"odd {op} bool {scalar}")
    for op in COMPARISONS:
        t.at("5m7s", f"sold {op} price", f"sold {op} bool price", f"odd {op} odd", f"odd {op} bool odd")
        t.over("1m7s 8m7s 1m", f"sold {op} 10", f"sold {op} bool price", f"10 {op} sold", f"sold {op} bool 10")
    t.at("5m7s", "sold > 20", gives='sold{shop="north", kind="oil"} 30\nsold{shop="south", kind="tea"} 32',
         why="A filter keeps the element as it is, with its name.")
    t.at("5m7s", "20 < sold", gives='sold{shop="north", kind="oil"} 30\nsold{shop="south", kind="tea"} 32',
         why="On whichever side the scalar stands, the vector's value is kept.")
    t.at("5m7s", "sold > on (shop, kind) price", gives="""
        {shop="north", kind="tea"} 11
        {shop="north", kind="oil"} 30
        {shop="south", kind="tea"} 32
    """, why="With on the name goes.")
    t.at("5m7s", "sold > ignoring () price", "sold > ignoring (nothing) price", gives="""
        sold{shop="north", kind="tea"} 11
        sold{shop="north", kind="oil"} 30
        sold{shop="south", kind="tea"} 32
    """, why="With ignoring it stays.")
    t.at("5m7s", "sold > 5 < 20", "(sold > bool 5) + (sold > bool 20)", "sold > 5 and sold < 12", "sum(sold > bool 10)",
         "count(sold > 10)", "sold == sold", "sold != sold", "scalar(sold{kind='oil', shop='south'}) == bool 7")


def set_operators():
    t = Topic("set_operators", "and, or, unless: by labels, never by values.")
    t.load("30s", SHOP + """
        stock{shop="north", kind="tea"} 5x40
        stock{shop="north", kind="soap"} 6x40
        stock{shop="south", kind="oil"} 0x40
    """)
    sides = [("sold", "price"), ("sold", "stock"), ("stock", "sold"), ("price", "stock"), ("sold > 20", "stock"),
             ("sold", "sold > 20"), ("sold", "nothing"), ("nothing", "sold"), ("nothing", "nothing")]  # fmt: skip
    how = ["", " on (shop)", " on (kind)", " on ()", " ignoring (kind)", " ignoring (shop)", " on (shop, kind)"]
    for (a, b), op, by in product(sides, ["and", "or", "unless"], how):
        if by in how[:3] or "nothing" not in a + b:
            t.at("5m7s", f"{a} {op}{by} {b}")
    t.at("5m7s", "sold and stock", gives="""
        sold{shop="north", kind="tea"} 11
        sold{shop="south", kind="oil"} 7
    """, why="The value does not matter, not even 0; the left side is kept as it is.")
    t.at("5m7s", "sold or stock", gives="""
        sold{shop="north", kind="tea"} 11
        sold{shop="north", kind="oil"} 30
        sold{shop="south", kind="tea"} 32
        sold{shop="south", kind="oil"} 7
        stock{shop="north", kind="soap"} 6
    """, why="The right side adds what the left does not have.")
    t.at("5m7s", "sold unless stock", gives="""
        sold{shop="north", kind="oil"} 30
        sold{shop="south", kind="tea"} 32
    """)
    t.at("5m7s", "sold and on (shop) staff", "sold unless on (shop) staff{town='Ulm'}", "staff or on (shop) sold",
         "staff unless on (shop) sold", "sold or vector(1)", "sold and vector(1)", "sold and on () vector(1)",
         "sold unless on () vector(1)", "sold unless on () nothing", "vector(1) or sold", "vector(1) or on () sold",
         "nothing or on () vector(7)", "sum(nothing) or vector(0)")
    t.say("and and unless bind tighter than or, from the left.")
    t.at("5m7s", "sold or price and stock", "(sold or price) and stock", "sold unless stock or price",
         "sold and stock unless price",
         "sold and (stock unless price)", "sold or price or stock", "sold and price and stock", "sold + 1 or price",
         "sold > 20 or price > 3")
    t.over("1m7s 8m7s 1m", "sold > 15 or price", "sold > 15 and stock", "sold unless sold > 15",
           "sold and on (shop) (staff > 4.9)",
           "sold > 15 or sold < 5", "(sold > 15) or on (kind) price")


def matching():
    t = Topic("matching", "One-to-one matching with on and ignoring.")
    t.load("30s", """
        asked{way="get", code="200"} 100+10x40
        asked{way="get", code="500"} 5+1x40
        asked{way="put", code="200"} 30+5x40
        asked{way="put", code="500"} 3x40
        asked{way="del", code="500"} 1x40
        whole{way="get"} 200+20x40
        whole{way="put"} 60+6x40
        whole{way="head"} 9x40
        limit{way="get", host="a"} 50x40
        limit{way="put", host="b"} 20x40
    """)
    for op in [*ARITHMETIC, *COMPARISONS, *(f"{c} bool" for c in COMPARISONS)]:
        for by in ["ignoring (code)", "on (way)"]:
            t.at("5m7s", f"asked{{code='500'}} {op} {by} whole")
        t.at("5m7s", f"whole {op} on (way) limit", f"whole {op} ignoring (host) limit")
    t.at("5m7s", "asked{code='500'} / ignoring (code) whole", "asked{code='500'} / on (way) whole", gives="""
        {way="get"} 0.0375
        {way="put"} 0.025
    """, why="15 of 400, 3 of 120; del and head have no partner. Only the matched labels stay.")
    t.over("1m7s 5m7s 1m", "asked{code='500'} / ignoring (code) whole", "whole - on (way) limit",
           "whole > on (way) limit * 6",
           "asked{code='200'} - ignoring (code) asked{code='500'}", "whole > bool on (way) limit * 6")
    t.at("5m7s", "asked + on (way, code) asked", "asked - ignoring () asked", "whole + ignoring (host, code) limit",
         "sum by (way) (asked) / whole", "sum by (way) (asked) / on (way) whole", "sum(asked) / sum(whole)",
         "sum(asked) / on () sum(whole)", "sum(asked) + ignoring (way) sum(whole)",
         "whole + on (nothing) sum(limit{way='nothing'})",
         "limit + on (host) limit", "limit * ignoring (way) limit", "whole{way='get'} + on () limit{way='get'}",
         "whole{way='get'} + ignoring (way, host) limit{way='put'}", "whole + on (way) whole offset 1m")
    t.say("Two elements of one side in a match are an error, whether or not the other side has a partner.")
    t.fails("asked / on (way) whole", "whole / on (way) asked", "asked / ignoring (code) whole", "limit + on () limit",
            "asked + on (code) asked", "whole - ignoring (way, host) limit{way='get'}",
            "whole{way='get'} + on () limit", time="5m7s")
    t.at("5m7s", "asked / on (way) nothing", "nothing / on (way) asked", gives="",
         why="An empty side answers at once, before matches are counted.")
    t.fails("asked > on (way) (whole > 399)", "asked{way='get'} > on (way) (whole - 300)", time="5m7s",
            why="Of two elements that match one, a filter may drop one or both; it is an error all the same.")
    t.fails("asked{way='get'} >= bool on (way) whole", time="5m7s", why="With bool both stay, and collide.")
    t.say("Names take part only if on lists them.")
    t.at("5m7s", "whole + on (__name__, way) whole", "whole + on (__name__, way) limit",
         "whole and on (__name__) whole{way='get'}",
         "whole unless on (__name__) limit")


def grouping():
    t = Topic("grouping", "Many-to-one and one-to-many matching: group_left and group_right.")
    t.load("30s", """
        asked{way="get", code="200"} 100+10x40
        asked{way="get", code="500"} 5+1x40
        asked{way="put", code="200"} 30+5x40
        asked{way="del", code="500"} 1x40
        whole{way="get", team="red"} 200+20x40
        whole{way="put", team="blue"} 60+6x40
        whole{way="head", team=""} 9x40
        build_info{way="get", version="1.2", code="old"} 1x40
        build_info{way="put", version="1.3"} 1x40
    """)
    include = ["", " (team)", " (team, nothing)"]
    for op, extra in product(["+", "/", "atan2", ">", ">= bool", "!="], include):
        t.at("5m7s", f"asked {op} on (way) group_left{extra} whole", f"whole {op} on (way) group_right{extra} asked")
        t.at("5m7s", f"asked {op} ignoring (code, team) group_left{extra} whole",
             f"whole {op} ignoring (code, team) group_right{extra} asked")  # fmt: skip
    t.at("5m7s", "asked / on (way) group_left whole", gives="""
        {way="get", code="200"} 0.5
        {way="get", code="500"} 0.0375
        {way="put", code="200"} 0.6666666666666666
    """, why="The labels of the many side stay: 200 of 400, 15 of 400, 80 of 120.")
    t.at("5m7s", "asked * on (way) group_left (version) build_info", gives="""
        {way="get", code="200", version="1.2"} 200
        {way="get", code="500", version="1.2"} 15
        {way="put", code="200", version="1.3"} 80
    """, why="A listed label is taken from the one side.")
    t.at("5m7s", "asked{code='200'} * on (way) group_left (code, version) build_info", gives="""
        {way="get", code="old", version="1.2"} 200
        {way="put", version="1.3"} 80
    """, why="It replaces the many side's own; where the one side lacks it, it goes.")
    t.at("5m7s", "asked > on (way) group_left whole - 300",
         gives='asked{way="get", code="200"} 200\nasked{way="put", code="200"} 80',
         why="A filter with a group keeps the many side's element and its name: 200 > 100, 80 > -180.")
    t.at("5m7s", "whole > on (way) group_right asked", gives="""
        asked{way="get", code="200"} 400
        asked{way="get", code="500"} 400
        asked{way="put", code="200"} 120
    """, why="Labels of the right, the many side; the value of the left.")
    t.over("1m7s 5m7s 1m", "asked / on (way) group_left (team) whole", "whole - on (way) group_right asked",
           "asked > on (way) group_left () (whole / 4)", "asked * on (way) group_left (version) build_info",
           "sum by (way, version) (asked * on (way) group_left (version) build_info)")
    t.at("5m7s", "asked + on () group_left sum(whole)", "sum(whole) - on () group_right asked",
         "asked / on () group_left () vector(2)",
         "asked / ignoring (way, code) group_left sum(asked)", "asked / scalar(sum(asked))",
         "asked * on (way, code) group_left asked",
         "whole * on (way) group_left (code) build_info", "build_info * on (way) group_right (version) asked")
    t.at("5m7s", "asked / on (way) group_left nothing", "nothing * on (way) group_right asked", gives="")
    t.say("Twins on the one side, or in the result, are errors.")
    t.fails("whole / on (way) group_left asked", "asked / on (way) group_right whole",
            "asked * on (code) group_left asked",
            "asked * ignoring (way, team) group_left whole", time="5m7s")
    t.fails("asked * on (way) group_left (code) build_info", "build_info * on (way) group_right (code) asked",
            time="5m7s",
            why="After the label's replacement two results have one set of labels.")
    t.fails("asked * on (way) group_left (way) whole", "asked and on (way) group_left whole",
            "asked or ignoring (code) group_right () whole",
            "asked unless on (way) group_left () whole", "asked group_left whole", "asked + on (way) group_left 2",
            time="5m7s")


operators()
comparison_bool()
set_operators()
matching()
grouping()
