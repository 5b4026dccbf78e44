//! From a series as a target exposes it to the series that is stored: the target's labels come in, relabelling runs,
//! external labels are added.

use std::borrow::Cow;

use crate::config::Job;
use crate::labels::Labels;
use crate::relabel;

/// The label that is the metric's name.
const NAME: &str = "__name__";
/// What goes before a label whose name the target has too.
const EXPORTED: &str = "exported_";

/// Maps the series of one target.
pub(super) struct Mapper<'t> {
    job: &'t Job,
    /// The target's labels, by name.
    target: &'t [(String, String)],
    own: Vec<(&'static str, &'static str)>,
    out: Vec<(&'static str, &'static str)>,
}

/// What became of a series.
pub(super) enum Mapped<R> {
    /// It is dropped.
    Dropped,
    /// It is stored, and this is what was made of its labels.
    Stored {
        made: R,
        /// Whether relabelling left it as it was.
        same: bool,
    },
}

impl<'t> Mapper<'t> {
    /// For a target with these labels, in the order of their names.
    pub(super) fn new(job: &'t Job, target: &'t [(String, String)]) -> Self {
        Mapper { job, target, own: Vec::new(), out: Vec::new() }
    }

    /// Gives the labels of a series of the scrape itself, such as `up`, to `make`.
    pub(super) fn report<R>(&mut self, name: &str, make: impl FnOnce(&[(&str, &str)]) -> R) -> R {
        let mut labels: Vec<(&str, &str)> = self.target.iter().map(pair).collect();
        labels.push((NAME, name));
        labels.sort_unstable_by_key(|label| label.0);
        self.add_external(&mut labels);
        make(&labels)
    }

    /// Gives the labels that a series is stored with to `make`. `known_same`: that relabelling leaves it as it is
    /// is known from a scrape before.
    pub(super) fn map<R>(
        &mut self,
        name: &str,
        labels: &[(Cow<'_, str>, Cow<'_, str>)],
        known_same: bool,
        make: impl FnOnce(&[(&str, &str)]) -> Result<R, String>,
    ) -> Result<Mapped<R>, String> {
        let mut own = recycle(std::mem::take(&mut self.own));
        own.push((NAME, name));
        own.extend(labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        if !own.is_sorted_by(|a, b| a.0 <= b.0) {
            own.sort_unstable_by_key(|label| label.0);
        }
        if let Some(twice) = own.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("the label {:?} is there twice", twice[0].0));
        }
        let mut out = recycle(std::mem::take(&mut self.out));
        let conflict = self.merge(&own, &mut out);
        let rules = if known_same { &[][..] } else { &self.job.metric_relabel[..] };
        let mapped = if conflict || !rules.is_empty() {
            let labels = if conflict { self.exported(&own) } else { out.iter().copied().collect() };
            self.relabelled(labels, rules, make)
        } else {
            self.check(&out)?;
            self.add_external(&mut out);
            make(&out).map(|made| Mapped::Stored { made, same: true })
        };
        (self.own, self.out) = (recycle(own), recycle(out));
        mapped
    }

    /// Merges the labels of a series into those of its target. True: a name is in both, and the target's wins.
    fn merge<'a>(&'a self, own: &[(&'a str, &'a str)], out: &mut Vec<(&'a str, &'a str)>) -> bool {
        let mut target = self.target.iter().map(pair).peekable();
        let mut conflict = false;
        for (name, value) in own {
            while let Some(label) = target.next_if(|label| label.0 < *name) {
                out.push(label);
            }
            match target.next_if(|label| label.0 == *name) {
                Some(label) if !self.job.honor_labels => {
                    conflict |= !value.is_empty();
                    out.push(label);
                }
                _ if value.is_empty() => {}
                _ => out.push((name, value)),
            }
        }
        out.extend(target);
        conflict
    }

    /// Adds the external labels that are not there, in their place: last of all, so that neither rules nor limits
    /// see them.
    fn add_external<'a>(&'a self, labels: &mut Vec<(&'a str, &'a str)>) {
        for (name, value) in self.job.external_labels.iter().map(pair) {
            if let Err(place) = labels.binary_search_by_key(&name, |label| label.0) {
                labels.insert(place, (name, value));
            }
        }
    }

    /// The same where names are in both: the series' own get another name.
    fn exported<'a>(&self, own: &[(&'a str, &'a str)]) -> Labels<'a>
    where
        't: 'a,
    {
        let mut labels: Labels<'a> = own.iter().copied().collect();
        let target = || self.target.iter().map(pair);
        let mut conflicts: Vec<(&'a str, &'a str)> = own
            .iter()
            .copied()
            .filter(|(name, value)| !value.is_empty() && target().any(|label| label.0 == *name))
            .collect();
        for (name, value) in target() {
            labels.set(name, value);
        }
        conflicts.sort_by_key(|(name, _)| name.len());
        for (name, value) in conflicts {
            let mut exported = format!("{EXPORTED}{name}");
            while labels.has(&exported) {
                exported.insert_str(0, EXPORTED);
            }
            labels.set(exported, value);
        }
        labels
    }

    fn relabelled<'a, R>(
        &self,
        mut labels: Labels<'a>,
        rules: &[relabel::Rule],
        make: impl FnOnce(&[(&str, &str)]) -> Result<R, String>,
    ) -> Result<Mapped<R>, String>
    where
        't: 'a,
    {
        let before = (!rules.is_empty()).then(|| labels.clone());
        if !relabel::apply(rules, &mut labels) {
            return Ok(Mapped::Dropped);
        }
        let same = before.is_none_or(|before| before == labels);
        labels.sort();
        if !labels.has(NAME) {
            return Err("relabelling took the metric's name away".into());
        }
        let mut pairs: Vec<(&str, &str)> = labels.iter().collect();
        self.check(&pairs)?;
        self.add_external(&mut pairs);
        make(&pairs).map(|made| Mapped::Stored { made, same })
    }

    /// Names and the job's limits.
    fn check(&self, labels: &[(&str, &str)]) -> Result<(), String> {
        let (limits, names) = (&self.job.limits, self.job.names);
        let metric = || labels.iter().find(|(name, _)| *name == NAME).map_or("", |(_, value)| value);
        if limits.labels > 0 && labels.len() as u64 > limits.labels {
            return Err(format!(
                "the metric {:?} has {} labels, more than label_limit ({})",
                metric(),
                labels.len(),
                limits.labels
            ));
        }
        for (name, value) in labels {
            let good = if *name == NAME { names.is_metric(value) } else { names.is_label(name) };
            if !good {
                return Err(format!("the metric {:?} or its label {name:?} has a name that is not allowed", metric()));
            }
            for (what, text, limit, key) in [
                ("name", name, limits.label_name, "label_name_length_limit"),
                ("value", value, limits.label_value, "label_value_length_limit"),
            ] {
                if limit > 0 && text.len() as u64 > limit {
                    let length = text.len();
                    return Err(format!(
                        "the metric {:?} has a label {name:?} whose {what} has {length} bytes, more than {key} ({limit})",
                        metric()
                    ));
                }
            }
        }
        Ok(())
    }
}

fn pair((name, value): &(String, String)) -> (&str, &str) {
    (name.as_str(), value.as_str())
}

/// An empty vector in the memory of another, whose contents lived longer or shorter.
fn recycle<'a, 'b>(mut used: Vec<(&'a str, &'a str)>) -> Vec<(&'b str, &'b str)> {
    used.clear();
    used.into_iter().map(|_| ("", "")).collect()
}
