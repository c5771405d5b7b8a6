//! What is printed.

use crate::peers::SUBJECT;
use crate::race::Timing;
use crate::task::Shape;

/// A larger relative error than this is no rounding: the answer is wrong and its time says nothing.
const PLAUSIBLE: f64 = 0.02;

/// One line of the summary.
struct Standing {
    name: &'static str,
    /// Its time over the subject's, for each shape.
    ratios: Vec<f64>,
}

/// Prints shapes as they come and remembers them for the summary.
#[derive(Default)]
pub struct Table {
    standings: Vec<Standing>,
}

impl Table {
    /// Prints one shape.
    pub fn add(&mut self, shape: Shape, timings: &[Timing]) {
        println!("\nlinear {shape}");
        println!("  {:<38} {:>11} {:>7} {:>9} {:>8}", "", "median us", "spread", "ratio", "error");
        let subject = timings.iter().find(|t| t.name == SUBJECT && is_plausible(t));
        for timing in timings {
            let ratio = subject.map(|subject| timing.seconds / subject.seconds);
            print_row(timing, ratio);
            if let Some(ratio) = ratio
                && is_plausible(timing)
            {
                self.standing(timing.name).ratios.push(ratio);
            }
        }
    }

    /// Prints what all shapes come to, and what is missing.
    pub fn finish(&self, notes: &[String]) {
        println!("\nspeed-up of `{SUBJECT}` over");
        println!("  {:<38} {:>9} {:>9} {:>9}", "", "min", "geo-mean", "shapes");
        for Standing { name, ratios } in self.standings.iter().filter(|s| s.name != SUBJECT) {
            let min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
            let mean = (logs / ratios.len() as f64).exp();
            println!("  {name:<38} {min:>8.2}x {mean:>8.2}x {:>9}", ratios.len());
        }
        println!("\nratio: time over that of `{SUBJECT}`; above 1 it is slower");
        println!("spread: of the middle half of the rounds, relative to the median");
        println!("error: relative rms, against f32 with the same weights (of rten, against exact sums)");
        for note in notes {
            println!("left out: {note}");
        }
    }

    fn standing(&mut self, name: &'static str) -> &mut Standing {
        let at = self.standings.iter().position(|s| s.name == name).unwrap_or_else(|| {
            self.standings.push(Standing { name, ratios: Vec::new() });
            self.standings.len() - 1
        });
        &mut self.standings[at]
    }
}

fn print_row(timing: &Timing, ratio: Option<f64>) {
    let Timing { name, seconds, spread, error } = timing;
    let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
    let error = error.map_or("-".into(), |error| format!("{:.2}%", error * 100.0));
    let verdict = if is_plausible(timing) { "" } else { "  WRONG ANSWER, not counted" };
    let (micros, spread) = (seconds * 1e6, spread * 100.0);
    println!("  {name:<38} {micros:>11.1} {spread:>6.0}% {ratio:>9} {error:>8}{verdict}");
}

fn is_plausible(timing: &Timing) -> bool {
    timing.error.is_none_or(|error| error < PLAUSIBLE)
}
