use super::*;

/// A sample as a line: name, labels, value, and what else there is.
#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    keys: Vec<u64>,
}

impl<'b> Receiver<'b> for Lines {
    fn family(&mut self, family: &Family<'b>) {
        let Family { name, kind, help, unit } = family;
        self.lines.push(format!("# {name} {} {help:?} {unit:?}", kind.as_str()));
    }

    fn sample(&mut self, sample: &Sample<'_, 'b>) -> Result<(), String> {
        let labels = |labels: &[(Cow<'_, str>, Cow<'_, str>)]| {
            labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(",")
        };
        let value = match sample.value {
            Value::Float(value) => value.to_string(),
            Value::Histogram(h) => format!("{h:?}"),
        };
        let mut line = format!("{}{{{}}} {value}", sample.name, labels(sample.labels));
        if let Some(timestamp) = sample.timestamp {
            line += &format!(" @{timestamp}");
        }
        if let Some(start) = sample.start {
            line += &format!(" since {start}");
        }
        for exemplar in sample.exemplars {
            line += &format!(" # {{{}}} {}", labels(&exemplar.labels), exemplar.value);
            if let Some(timestamp) = exemplar.timestamp {
                line += &format!(" @{timestamp}");
            }
        }
        self.lines.push(line);
        self.keys.push(sample.key);
        Ok(())
    }
}

const WANTED: Wanted = Wanted { native: true, classic: false };

fn lines(body: &[u8], format: Format, wanted: Wanted) -> Result<Vec<String>, String> {
    let mut lines = Lines::default();
    parse(body, format, wanted, &mut lines).map_err(|error| error.to_string())?;
    Ok(lines.lines)
}

fn text(body: &str) -> Result<Vec<String>, String> {
    lines(body.as_bytes(), Format::Text, WANTED)
}

fn open(body: &str) -> Result<Vec<String>, String> {
    lines(body.as_bytes(), Format::OpenMetrics, WANTED)
}

#[test]
fn the_text_format() {
    let body = "\
# HELP http_requests_total The total\\nnumber \\\\ of requests.
# TYPE http_requests_total counter
http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000
http_requests_total{method=\"post\",code=\"400\"}    3 -1

# A comment
#not even one
  \t spaces  {  a = \"b\" , }\t 1  \t
escapes{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"x\\\" \\q {},=#\"} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem=\"division by zero\"} +Inf -3982045
nan NaN
empty{} 0
:colons:in:names 5e-3
# TYPE h histogram
h_bucket{le=\"1\"} 1
h_bucket{le=\"+Inf\"} 2
h_sum 3
# TYPE s summary
s{quantile=\"0.50\"} 1
# TYPE g gauge
g{le=\"1\"} 1
{\"my.metric\",\"a.b\"=\"c\"} 7
{ \"my.metric\" } 8
last{a=\"b\"}9";
    let expected = [
        "# http_requests_total counter \"The total\\nnumber \\\\ of requests.\" \"\"",
        "http_requests_total{method=\"post\",code=\"200\"} 1027 @1395066363000",
        "http_requests_total{method=\"post\",code=\"400\"} 3 @-1",
        "spaces{a=\"b\"} 1",
        "escapes{path=\"C:\\\\DIR\\\\FILE.TXT\",error=\"Cannot find file:\\n\\\"x\\\" \\\\q {},=#\"} 1458255915",
        "metric_without_timestamp_and_labels{} 12.47",
        "something_weird{problem=\"division by zero\"} inf @-3982045",
        "nan{} NaN",
        "empty{} 0",
        ":colons:in:names{} 0.005",
        "# h histogram \"\" \"\"",
        "h_bucket{le=\"1.0\"} 1",
        "h_bucket{le=\"+Inf\"} 2",
        "h_sum{} 3",
        "# s summary \"\" \"\"",
        "s{quantile=\"0.5\"} 1",
        "# g gauge \"\" \"\"",
        "g{le=\"1\"} 1",
        "my.metric{a.b=\"c\"} 7",
        "my.metric{} 8",
        "last{a=\"b\"} 9",
    ];
    assert_eq!(text(body).unwrap(), expected);
    assert_eq!(text("").unwrap(), Vec::<String>::new());
    assert_eq!(text("\n\n").unwrap(), Vec::<String>::new());
    assert_eq!(text("# TYPE").unwrap_err(), "line 1: the line's end where a metric's name is expected");
}

#[test]
fn open_metrics() {
    let body = "\
# TYPE foo counter
# HELP foo Says \"hi\"
# UNIT foo
foo_total{a=\"b\"} 17.0 1520879607.789 # {trace_id=\"x\"} 0.67 1520879607.5
foo_created{a=\"b\"} 1520872607.123
foo_total{a=\"c\"} 1 # {} 3
# TYPE size_bytes histogram
# UNIT size_bytes bytes
size_bytes_bucket{le=\"1\"} 1
size_bytes_bucket{le=\"+Inf\"} 2 # {trace_id=\"y\",n=\"#\"} 9
size_bytes_count 2
size_bytes_sum 3
size_bytes_created 1000
# TYPE other unknown
other_created 5
# EOF
";
    let expected = [
        "# foo counter \"Says \\\"hi\\\"\" \"\"",
        "foo_total{a=\"b\"} 17 @1520879607789 since 1520872607123 # {trace_id=\"x\"} 0.67 @1520879607500",
        "foo_created{a=\"b\"} 1520872607.123 since 1520872607123",
        "foo_total{a=\"c\"} 1 # {} 3",
        "# size_bytes histogram \"\" \"bytes\"",
        "size_bytes_bucket{le=\"1.0\"} 1 since 1000000",
        "size_bytes_bucket{le=\"+Inf\"} 2 since 1000000 # {trace_id=\"y\",n=\"#\"} 9",
        "size_bytes_count{} 2 since 1000000",
        "size_bytes_sum{} 3 since 1000000",
        "size_bytes_created{} 1000 since 1000000",
        "# other unknown \"\" \"\"",
        "other_created{} 5",
    ];
    assert_eq!(open(body).unwrap(), expected);
    assert_eq!(open("# EOF").unwrap(), Vec::<String>::new());
    for (body, said) in [
        ("", "line 1: # EOF is missing"),
        ("a 1\n", "line 2: # EOF is missing"),
        ("a 1\n# EOF\nb 2\n", "line 2: something follows # EOF"),
        ("a 1\n\n# EOF\n", "line 2: an empty line"),
        ("# comment\n# EOF\n", "line 1: \"comment\" is none of"),
        ("# UNIT a seconds\n# EOF\n", "line 1: the metric \"a\" does not end with its unit"),
        ("a 1 x\n# EOF\n", "line 1: \"x\" is no timestamp in seconds"),
        ("a 1 # {a=\"b\"}\n# EOF\n", "line 1: \"\" is no value"),
        ("a 1 # x\n# EOF\n", "line 1: 'x' where an exemplar's labels are expected"),
    ] {
        let error = open(body).unwrap_err();
        assert!(error.starts_with(said), "{body:?}: {error}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (body, said) in [
        ("a 1\nb\n", "line 2: \"\" is no value"),
        ("a{b=\"c\" 1\n", "line 1: '1' where a comma or } is expected"),
        ("a{b=\"c} 1\n", "line 1: a double quote is missing"),
        ("a{b=\"c\\\"} 1\n", "line 1: a double quote is missing"),
        ("a{b=\"c\\\n", "line 1: a double quote is missing"),
        ("a{b='c'} 1\n", "line 1: '\\'' where the value of \"b\" is expected"),
        ("a{b} 1\n", "line 1: '}' where = is expected"),
        ("a{,} 1\n", "line 1: ',' where a label's name or } is expected"),
        ("a{b=\"1\",,c=\"2\"} 1\n", "line 1: ',' where a label's name"),
        ("a{9=\"1\"} 1\n", "line 1: '9' where a label's name"),
        ("a{b:c=\"1\"} 1\n", "line 1: ':' where = is expected"),
        ("9a 1\n", "line 1: '9' where a metric's name is expected"),
        ("é 1\n", "line 1: 'é' where a metric's name is expected"),
        ("aé 1\n", "line 1: 'é' in a metric's name"),
        ("{a=\"b\"} 1\n", "line 1: the metric has no name"),
        ("{} 1\n", "line 1: the metric has no name"),
        ("a{\"b\"} 1\n", "line 1: the metric's name is there twice"),
        ("{\"a\",\"b\"} 1\n", "line 1: the metric's name is there twice"),
        ("a one\n", "line 1: \"one\" is no value"),
        ("a 1 1.5\n", "line 1: \"1.5\" is no timestamp in milliseconds"),
        ("a 1 99999999999999999999\n", "line 1: \"99999999999999999999\" is no timestamp"),
        ("a 1 2 3\n", "line 1: '3' after the sample"),
        ("a 1 # {} 2\n", "line 1: \"#\" is no timestamp"),
        ("a 1\r\n", "line 1: \"1\\r\" is no value"),
        ("# TYPE a apple\n", "line 1: \"apple\" is no type of metrics"),
        ("# TYPE a{ gauge\n", "line 1: '{' after a metric's name"),
        ("# HELP \"a\n", "line 1: a double quote is missing"),
        ("<html>\n", "line 1: '<' where a metric's name is expected"),
    ] {
        let error = text(body).unwrap_err();
        assert!(error.starts_with(said), "{body:?}: {error}");
    }
    let error = lines(b"a 1\nb{c=\"\xff\"} 1\n", Format::Text, WANTED).unwrap_err();
    assert_eq!(error, "line 2: it is not UTF-8");
}

/// No text makes a parser panic, wherever it is cut, and whatever byte of it is another.
#[test]
fn damaged_bodies_are_refused_or_read() {
    let body = "# TYPE a_b counter\n# HELP a_b x\\n\na_b_total{é=\"\\\"\",\"q\"=\"v\"} 1 2 # {a=\"b\"} 1 2\na_b_created 1\n# EOF\n";
    let proto = protobuf();
    for (bytes, formats) in
        [(body.as_bytes(), &[Format::Text, Format::OpenMetrics][..]), (&proto[..], &[Format::Protobuf][..])]
    {
        for format in formats {
            for at in 0..bytes.len() {
                let _ = lines(&bytes[..at], *format, WANTED);
                for byte in [0, b'"', b'{', b'\\', b'\n', b'#', 0x7f, 0x80, 0xff] {
                    let mut damaged = bytes.to_vec();
                    damaged[at] = byte;
                    let _ = lines(&damaged, *format, WANTED);
                }
            }
        }
    }
}

#[test]
fn a_series_has_the_same_key_in_every_scrape() {
    let keys = |body: &str| {
        let mut lines = Lines::default();
        parse(body.as_bytes(), Format::Text, WANTED, &mut lines).unwrap();
        lines.keys
    };
    let [a, b, c] = keys("a{b=\"c\"} 1\na{b=\"d\"} 1\na 1\n")[..] else { panic!() };
    assert_eq!(keys("a 5 7\nx 1\na{b=\"c\"} 9\n")[..], [c, keys("x 1")[0], a]);
    assert!(a != b && b != c && a != c);
}

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 16384);
    let mut out = vec![number << 3 | 2];
    if number > 15 {
        out = vec![(number << 3 | 2) | 0x80, number >> 4];
    }
    match bytes.len() {
        length @ 0..128 => out.push(length as u8),
        length => out.extend([length as u8 | 0x80, (length >> 7) as u8]),
    }
    [&out[..], bytes].concat()
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[number << 3 | 1][..], &value.to_le_bytes()].concat()
}

fn int(number: u8, value: u8) -> Vec<u8> {
    assert!(value < 128);
    vec![number << 3, value]
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn family(name: &str, kind: u8, metrics: &[Vec<u8>]) -> Vec<u8> {
    let metrics: Vec<u8> = metrics.iter().flat_map(|metric| field(4, metric)).collect();
    // The type of counters is 0, which is left out.
    let kind = if kind == 0 { vec![] } else { int(3, kind) };
    let bytes = [field(1, name.as_bytes()), field(2, b"help"), kind, metrics, field(5, b"s")].concat();
    let mut out = if bytes.len() < 128 {
        vec![bytes.len() as u8]
    } else {
        vec![bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8]
    };
    out.extend(bytes);
    out
}

/// One metric of each type.
pub(crate) fn protobuf() -> Vec<u8> {
    let created = [int(1, 5), int(2, 0)].concat();
    let exemplar = [label("trace_id", "x"), double(2, 0.5), field(3, &int(1, 9))].concat();
    let counter = [label("a", "b"), field(3, &[double(1, 7.0), field(2, &exemplar), field(3, &created)].concat())];
    let gauge = [label("a", "b"), field(2, &double(1, -1.5)), vec![6 << 3, 100]].concat();
    let untyped = field(5, &[]);
    let quantile = field(3, &[double(1, 0.5), double(2, 3.0)].concat());
    let summary = field(4, &[int(1, 4), double(2, 10.0), quantile].concat());
    let buckets = [(1.0, 2), (2.5, 3)].map(|(bound, count)| field(3, &[int(1, count), double(2, bound)].concat()));
    let classic = field(7, &[int(1, 4), double(2, 10.0), buckets.concat()].concat());
    let spans = [field(12, &[int(1, 2), int(2, 2)].concat()), field(12, &[int(1, 4), int(2, 1)].concat())].concat();
    let native = [
        [int(1, 4), double(2, 10.0), buckets.concat(), int(5, 6), double(6, 0.001), int(7, 1)].concat(),
        [spans, field(13, &[2, 1, 4]), field(15, &created)].concat(),
        field(16, &exemplar),
    ];
    let native = [label("n", "1"), field(7, &native.concat())].concat();
    [
        family("c_total", 0, &[counter.concat()]),
        family("g", 1, &[gauge]),
        family("s", 2, &[summary]),
        family("u", 3, &[untyped]),
        family("h", 4, &[classic, native]),
    ]
    .concat()
}

#[test]
fn the_protobuf_format() {
    let classic =
        ["h_count{} 4", "h_sum{} 10", "h_bucket{le=\"1.0\"} 2", "h_bucket{le=\"2.5\"} 3", "h_bucket{le=\"+Inf\"} 4"];
    let native = "h{n=\"1\"} NativeHistogram { count: Int(4), sum: 10.0, schema: 3, zero_threshold: 0.001, \
                  zero_count: Int(1), negative: Buckets { spans: [], deltas: [], counts: [] }, \
                  positive: Buckets { spans: [(1, 2), (2, 1)], deltas: [1, -1, 2], counts: [] }, gauge: false } \
                  since 5000 # {trace_id=\"x\"} 0.5 @9000";
    let others = [
        "# c_total counter \"help\" \"s\"",
        "c_total{a=\"b\"} 7 since 5000 # {trace_id=\"x\"} 0.5 @9000",
        "# g gauge \"help\" \"s\"",
        "g{a=\"b\"} -1.5 @100",
        "# s summary \"help\" \"s\"",
        "s_count{} 4",
        "s_sum{} 10",
        "s{quantile=\"0.5\"} 3",
        "# u unknown \"help\" \"s\"",
        "u{} 0",
        "# h histogram \"help\" \"s\"",
    ];
    let body = protobuf();
    let both = classic.map(|line| line.replace("{}", "{n=\"1\"}").replace("{le", "{n=\"1\",le") + " since 5000");
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    for (wanted, expected) in [
        (WANTED, [&others[..], &classic, &[native]].concat()),
        (Wanted { native: true, classic: true }, [&others[..], &classic, &[native], &both].concat()),
        (Wanted { native: false, classic: false }, [&others[..], &classic, &both].concat()),
    ] {
        assert_eq!(lines(&body, Format::Protobuf, wanted).unwrap(), expected, "{wanted:?}");
    }
    let error = lines(&body[..body.len() - 1], Format::Protobuf, WANTED).unwrap_err();
    assert!(error.starts_with("metric family 5: it is cut short"), "{error}");
    let nameless = family("", 1, &[]);
    assert_eq!(lines(&nameless, Format::Protobuf, WANTED).unwrap_err(), "metric family 1: it has no name");
    let empty = family("g", 1, &[label("a", "b")]);
    assert_eq!(lines(&empty, Format::Protobuf, WANTED).unwrap_err(), "metric \"g\": a metric has no value of its type");
}

#[test]
fn creation_times_are_of_one_metric() {
    let body = "# TYPE foo counter\nfoo_total 1\nfoo_created 5\nbar 2\n# HELP baz x\nbaz 3\n# EOF\n";
    let lines = open(body).unwrap();
    for expected in ["foo_total{} 1 since 5000", "bar{} 2", "baz{} 3"] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is not in {lines:#?}");
    }
}
