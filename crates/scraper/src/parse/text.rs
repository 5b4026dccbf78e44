//! Prometheus' text format and OpenMetrics'. They differ in their comments, in how times are written, and in that
//! OpenMetrics has units, exemplars, creation times and an end.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter};

use super::created::Created;
use super::series::{self, skip_blank};
use super::{Exemplar, Family, Kind, Pairs, ParseError, Receiver, Sample, Value, number};

/// What is known while the lines are read.
struct Parser<'b> {
    body: &'b str,
    open: bool,
    family: Family<'b>,
    /// Whether the receiver has not heard of the family yet.
    untold: bool,
    created: Created,
    labels: Pairs<'b>,
    exemplars: Vec<Exemplar<'b>>,
}

/// Parses a body; `open` says that it is OpenMetrics.
pub(super) fn parse<'b>(body: &'b str, open: bool, receiver: &mut impl Receiver<'b>) -> Result<(), ParseError> {
    let created = Created::new(open && memchr::memmem::find(body.as_bytes(), b"_created").is_some());
    let mut parser = Parser {
        body,
        open,
        family: Family::default(),
        untold: false,
        created,
        labels: Vec::new(),
        exemplars: Vec::new(),
    };
    let mut at = 0;
    while at < body.len() {
        let end = memchr(b'\n', &body.as_bytes()[at..]).map_or(body.len(), |end| at + end);
        let fail = |message| ParseError { place: line_of(body.as_bytes(), at), message };
        let line = &body[at..end];
        if parser.line(line, end, receiver).map_err(fail)? {
            // Nothing may follow the end.
            return match body.as_bytes().get(end + 1) {
                None => Ok(()),
                Some(_) => Err(fail("something follows # EOF".into())),
            };
        }
        at = end + 1;
    }
    parser.tell(receiver);
    if open {
        let place = line_of(body.as_bytes(), body.len());
        return Err(ParseError { place, message: "# EOF is missing: the body is cut short".into() });
    }
    Ok(())
}

impl<'b> Parser<'b> {
    /// Reads a line that ends at `end`. True: the body ends with it.
    fn line(&mut self, line: &'b str, end: usize, receiver: &mut impl Receiver<'b>) -> Result<bool, String> {
        let start = if self.open { 0 } else { skip_blank(line.as_bytes(), 0) };
        match line.as_bytes().get(start) {
            None if self.open => Err("an empty line, which OpenMetrics has not".into()),
            None => Ok(false),
            Some(b'#') => self.comment(&line[start + 1..], end, receiver),
            Some(_) => {
                if self.untold {
                    self.tell(receiver);
                }
                self.sample(&line[start..], receiver).map(|()| false)
            }
        }
    }

    fn tell(&mut self, receiver: &mut impl Receiver<'b>) {
        if std::mem::take(&mut self.untold) {
            receiver.family(&self.family);
        }
    }

    /// What follows `#`.
    fn comment(&mut self, text: &'b str, end: usize, receiver: &mut impl Receiver<'b>) -> Result<bool, String> {
        let text = text.trim_start_matches([' ', '\t']);
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        match word {
            "HELP" | "TYPE" => {}
            "UNIT" if self.open => {}
            "EOF" if self.open && rest.is_empty() => {
                self.tell(receiver);
                return Ok(true);
            }
            _ if self.open => return Err(format!("{word:?} is none of HELP, TYPE, UNIT and EOF")),
            _ => return Ok(false),
        }
        let rest = rest.trim_start_matches([' ', '\t']);
        let (name, rest) = if rest.starts_with('"') {
            let (name, at) = series::quoted(rest, 0)?;
            (name, &rest[at..])
        } else {
            let end = series::name_end(rest.as_bytes(), 0, true);
            if end == 0 {
                return Err(format!("{} where a metric's name is expected", series::shown(rest, 0)));
            }
            (Cow::Borrowed(&rest[..end]), &rest[end..])
        };
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            return Err(format!("{} after a metric's name", series::shown(rest, 0)));
        }
        if self.family.name != name {
            self.tell(receiver);
            self.family = Family { name, ..Default::default() };
            self.created.clear();
        }
        self.untold = true;
        let rest = rest.trim_start_matches([' ', '\t']);
        match word {
            "HELP" => {
                self.family.help = if memchr(b'\\', rest.as_bytes()).is_some() {
                    Cow::Owned(series::unescape(rest))
                } else {
                    Cow::Borrowed(rest)
                };
            }
            "UNIT" => {
                let named = self.family.name.strip_suffix(rest).is_some_and(|name| name.ends_with('_'));
                if !rest.is_empty() && !named {
                    let name = &self.family.name;
                    return Err(format!("the metric {name:?} does not end with its unit, {rest:?}"));
                }
                self.family.unit = Cow::Borrowed(rest);
            }
            _ => {
                let kind = rest.trim_end_matches([' ', '\t']);
                self.family.kind = Kind::parse(kind).ok_or_else(|| format!("{kind:?} is no type of metrics"))?;
                let rest = self.body.get(end + 1..).unwrap_or_default();
                self.created.look_ahead(&self.family, rest);
            }
        }
        Ok(false)
    }

    fn sample(&mut self, line: &'b str, receiver: &mut impl Receiver<'b>) -> Result<(), String> {
        let (name, end) = series::read(line, &mut self.labels)?;
        let key = xxhash_rust::xxh3::xxh3_64(&line.as_bytes()[..end]);
        self.bounds();
        let bytes = line.as_bytes();
        let at = skip_blank(bytes, end);
        if at == end && at < bytes.len() && bytes.get(end - 1) != Some(&b'}') {
            return Err(format!("{} in a metric's name", series::shown(line, end)));
        }
        let (value, at) = token(line, at);
        let value = number::float(value)?;
        let at = skip_blank(bytes, at);
        let (time, mut at) = token(line, at);
        let mut timestamp = None;
        match time {
            "" => {}
            "#" if self.open => at -= 1,
            time => timestamp = Some(if self.open { seconds(time)? } else { millis(time)? }),
        }
        let at = skip_blank(bytes, at);
        self.exemplars.clear();
        if at < bytes.len() {
            if !self.open || bytes[at] != b'#' {
                return Err(format!("{} after the sample", series::shown(line, at)));
            }
            self.exemplar(line, at + 1)?;
        }
        // A series of another metric may follow without a comment.
        let start = self.created.of(&self.labels).filter(|_| name.starts_with(self.family.name.as_ref()));
        receiver.sample(&Sample {
            key,
            name: &name,
            labels: &self.labels,
            value: Value::Float(value),
            timestamp,
            start,
            exemplars: &self.exemplars,
        })
    }

    /// Bounds of buckets and quantiles are written in different ways by different programs.
    fn bounds(&mut self) {
        let label = match self.family.kind {
            Kind::Histogram | Kind::GaugeHistogram => "le",
            Kind::Summary => "quantile",
            _ => return,
        };
        if let Some((_, value)) = self.labels.iter_mut().find(|(name, _)| name == label) {
            *value = number::bound(std::mem::take(value));
        }
    }

    /// An exemplar, after its `#`.
    fn exemplar(&mut self, line: &'b str, at: usize) -> Result<(), String> {
        let bytes = line.as_bytes();
        let at = skip_blank(bytes, at);
        if bytes.get(at) != Some(&b'{') {
            return Err(format!("{} where an exemplar's labels are expected", series::shown(line, at)));
        }
        let mut exemplar = Exemplar::default();
        let (name, at) = series::braces(line, at, &mut exemplar.labels)?;
        if name.is_some() {
            return Err("an exemplar has no name".into());
        }
        let (value, at) = token(line, skip_blank(bytes, at));
        exemplar.value = number::float(value)?;
        let (time, at) = token(line, skip_blank(bytes, at));
        if !time.is_empty() {
            exemplar.timestamp = Some(seconds(time)?);
        }
        let at = skip_blank(bytes, at);
        if at < bytes.len() {
            return Err(format!("{} after the exemplar", series::shown(line, at)));
        }
        self.exemplars.push(exemplar);
        Ok(())
    }
}

/// What stands before the next blank, and where that is.
fn token(line: &str, at: usize) -> (&str, usize) {
    let rest = &line.as_bytes()[at..];
    let end = at + rest.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    (&line[at..end], end)
}

/// A time in the text format: milliseconds.
fn millis(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is no timestamp in milliseconds"))
}

/// A time in OpenMetrics: seconds. In milliseconds.
pub(super) fn seconds(text: &str) -> Result<i64, String> {
    match number::float(text) {
        Ok(seconds) if seconds.is_finite() => Ok((seconds * 1e3).round() as i64),
        _ => Err(format!("{text:?} is no timestamp in seconds")),
    }
}

/// How a place in a body is called.
pub(super) fn line_of(body: &[u8], at: usize) -> String {
    let before = &body[..at.min(body.len())];
    format!("line {}", memchr_iter(b'\n', before).count() + 1)
}
