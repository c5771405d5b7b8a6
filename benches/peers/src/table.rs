//! The tables that are printed.

use crate::peers::SUBJECT;
use crate::race::Timing;
use crate::shape::Shape;

/// A peer's time over the subject's.
#[derive(Clone, Copy)]
struct Ratio {
    median: f64,
    best: f64,
}

/// Prints shapes as they come and remembers them for the summary.
pub struct Table {
    /// A larger relative error than this is no rounding: the answer is wrong and its time says nothing.
    plausible: f64,
    /// The ratios of each peer, one for each shape.
    standings: Vec<(&'static str, Vec<Ratio>)>,
}

impl Table {
    pub fn new(plausible: f64) -> Self {
        Self { plausible, standings: Vec::new() }
    }

    /// Prints one shape.
    pub fn add(&mut self, shape: Shape, timings: &[Timing]) {
        println!("\n{shape}");
        println!("  {:<38} {:>11} {:>11} {:>9} {:>8}", "", "median us", "best us", "ratio", "error");
        let subject = timings.iter().find(|t| t.name == SUBJECT && self.is_plausible(t));
        for timing in timings {
            let ratio = subject.map(|subject| Ratio {
                median: timing.median / subject.median,
                best: timing.best / subject.best,
            });
            self.print_row(timing, ratio);
            if let Some(ratio) = ratio
                && self.is_plausible(timing)
            {
                self.ratios(timing.name).push(ratio);
            }
        }
    }

    /// Prints what all shapes come to, if there were any.
    pub fn finish(&self, what: &str) {
        if self.standings.is_empty() {
            return;
        }
        println!("\n{what}: speed-up of `{SUBJECT}` over");
        println!("  {:<38} {:>9} {:>9} {:>9} {:>7}", "", "min", "geo-mean", "of best", "shapes");
        for (name, ratios) in self.standings.iter().filter(|(name, _)| *name != SUBJECT) {
            let min = ratios.iter().map(|ratio| ratio.median).fold(f64::INFINITY, f64::min);
            let mean = geometric_mean(ratios.iter().map(|ratio| ratio.median));
            let best = geometric_mean(ratios.iter().map(|ratio| ratio.best));
            let shapes = ratios.len();
            println!("  {name:<38} {min:>8.2}x {mean:>8.2}x {best:>8.2}x {shapes:>7}");
        }
    }

    fn print_row(&self, timing: &Timing, ratio: Option<Ratio>) {
        let Timing { name, median, best, error } = timing;
        let ratio = ratio.map_or("-".into(), |ratio| format!("{:.2}", ratio.median));
        let error = error.map_or("-".into(), |error| format!("{:.2}%", error * 100.0));
        let verdict = if self.is_plausible(timing) { "" } else { "  WRONG ANSWER, not counted" };
        let (median, best) = (median * 1e6, best * 1e6);
        println!("  {name:<38} {median:>11.1} {best:>11.1} {ratio:>9} {error:>8}{verdict}");
    }

    fn is_plausible(&self, timing: &Timing) -> bool {
        timing.error.is_none_or(|error| error < self.plausible)
    }

    fn ratios(&mut self, name: &'static str) -> &mut Vec<Ratio> {
        let at = self.standings.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.standings.push((name, Vec::new()));
            self.standings.len() - 1
        });
        &mut self.standings[at].1
    }
}

/// Prints what the columns mean, and who is missing.
pub fn explain(notes: &[String]) {
    println!("\nratio: median over that of `{SUBJECT}`; above 1 it is slower");
    println!("best: the fastest round; far from the median, the machine was busy");
    println!("error: relative rms, against f32 with the same weights (rten: against exact sums)");
    for note in notes {
        println!("left out: {note}");
    }
}

fn geometric_mean(ratios: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = ratios.len() as f64;
    (ratios.map(f64::ln).sum::<f64>() / count).exp()
}
