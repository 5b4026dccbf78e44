//! Figures as a person reads them: one aligned table; and as a machine does: JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use crate::Options;
use crate::budgets::Budget;

/// A figure over several runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: Vec<f64>,
}

impl Spread {
    pub fn of(runs: impl IntoIterator<Item = f64>) -> Spread {
        let runs: Vec<f64> = runs.into_iter().collect();
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Spread::default() };
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Spread { median, min, max, runs }
    }

    /// Half of the range, as a share of the median.
    pub fn width(&self) -> String {
        if self.runs.len() < 2 || self.median == 0.0 {
            return String::new();
        }
        format!("±{:.0} %", 50.0 * (self.max - self.min) / self.median)
    }
}

/// Text columns to the left, figures to the right.
#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Left,
    Right,
}

/// A table whose first row is the header.
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[(&str, Align)]) -> Table {
        let (names, columns) = header.iter().map(|(name, align)| (name.to_string(), *align)).unzip();
        Table { columns, rows: vec![names] }
    }

    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// As lines, with two spaces between columns.
    pub fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|c| width(c).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.columns).map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rule: String = widths.iter().map(|w| "-".repeat(*w)).collect::<Vec<_>>().join("  ") + "\n";
        let mut lines = self.rows.iter().map(line);
        lines.next().unwrap_or_default() + &rule + &lines.collect::<String>()
    }
}

/// Thousands as k, millions as M.
pub fn rate(value: f64) -> String {
    match value {
        v if v >= 10_000_000.0 => format!("{:.1}M", v / 1e6),
        v if v >= 1_000_000.0 => format!("{:.2}M", v / 1e6),
        v => format!("{:.0}k", v / 1e3),
    }
}

/// Bytes as megabytes.
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// What stands beside a figure of ours: the aim with the share that is reached, and whether
/// the floor is kept.
pub fn against(budget: &Budget, figure: f64, show: impl Fn(f64) -> String) -> [String; 2] {
    let aim = format!("{} ({:.2} of it)", show(budget.aim), figure / budget.aim);
    let floor = budget.floor.map_or_else(String::new, |floor| {
        let verdict = if budget.keeps(floor, figure) { "kept" } else { "MISSED" };
        format!("{} {verdict}", show(floor))
    });
    [aim, floor]
}

/// Writes the machine-readable results and says where.
pub fn write(options: &Options, benchmark: &str, results: &impl Serialize) -> Result<()> {
    let file = match &options.out {
        Some(file) => file.clone(),
        None => target_dir()?.join(format!("bench-{benchmark}.json")),
    };
    let document = json!({
        "benchmark": benchmark,
        "quick": options.quick,
        "machine": machine(),
        "results": results,
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&document)?)?;
    println!("\n{}", file.display());
    Ok(())
}

/// Cargo's target directory: this program lies in its `release`.
fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.ancestors().nth(2).map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

/// Processor, cores, kernel, and what fsync writes to: figures of two machines are not compared.
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": ")).map(|(_, m)| m);
    let cores = cpus.lines().filter(|l| l.starts_with("processor")).count();
    let kernel = output(Command::new("uname").arg("-r"));
    let temporary = std::env::temp_dir();
    let filesystem = output(Command::new("stat").args(["--file-system", "--format=%T"]).arg(&temporary));
    // On a file system in memory an fsync costs nothing.
    let warning = if filesystem == "tmpfs" { " (NOT A DISK: acks are not durable; set TMPDIR)" } else { "" };
    let temporary = temporary.display();
    format!("{}, {cores} cores, Linux {kernel}, data in {temporary} on {filesystem}{warning}", model.unwrap_or("?"))
}

fn output(command: &mut Command) -> String {
    let output = command.output().map(|o| o.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

/// Bonghwa's settings in the environment, which are not its defaults.
pub fn settings() -> String {
    let keys =
        std::env::vars().filter(|(k, _)| k.starts_with("BONGHWA_") && k != "BONGHWA_CACHE" && k != "BONGHWA_BIN");
    let set: Vec<String> = keys.map(|(k, v)| format!("{k}={v}")).collect();
    if set.is_empty() { "defaults".into() } else { set.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budgets::Better;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([90.0, 100.0, 110.0]).width(), "±10 %");
        assert_eq!(Spread::of([1.0]).width(), "");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("who", Align::Left), ("rate", Align::Right)]);
        table.row(["Bonghwa", "1"]);
        table.row(["peer", "12345"]);
        assert_eq!(table.render(), "who       rate\n-------  -----\nBonghwa      1\npeer     12345\n");
    }

    #[test]
    fn limits_are_judged_from_the_right_side() {
        let more = Budget { aim: 100_000.0, floor: Some(50_000.0), better: Better::More };
        assert_eq!(against(&more, 60_000.0, rate), ["100k (0.60 of it)", "50k kept"]);
        let less = Budget { aim: 50.0, floor: Some(55.0), better: Better::Less };
        assert_eq!(against(&less, 60.0, |v| v.to_string()), ["50 (1.20 of it)", "55 MISSED"]);
    }
}
