//! The stopwatch: contestants take turns, so that whatever else the machine does hits all of them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::contestant::Contestant;

/// The time that one contestant runs before the next one does, at least.
const TURN: Duration = Duration::from_millis(40);
/// Idle workers spin before they sleep, those of ONNX Runtime for some 40 ms: they must not slow the next one down.
const PAUSE: Duration = Duration::from_millis(75);
/// A contestant with longer calls than this takes part in the first rounds only.
const SLOW: Duration = Duration::from_millis(400);
const SLOW_ROUNDS: usize = 3;

/// Seconds that a call took, on the average of a round: over all rounds.
#[derive(Clone, Copy)]
pub struct Timing {
    pub median: f64,
    pub best: f64,
}

/// Times each contestant.
pub fn race(contestants: &mut [Box<dyn Contestant>], rounds: usize) -> Vec<Timing> {
    let mut runners: Vec<_> = contestants.iter_mut().map(|c| Runner::warm_up(c.as_mut())).collect();
    for round in 0..rounds {
        // Another one begins each time, so that nobody always runs behind the same one's leftovers.
        let first = round % runners.len().max(1);
        runners.rotate_left(first);
        runners.iter_mut().filter(|r| round < SLOW_ROUNDS || !r.is_slow()).for_each(Runner::turn);
        runners.rotate_right(first);
    }
    runners.into_iter().map(Runner::finish).collect()
}

/// Calls one contestant again and again, for a profiler, and returns the seconds of a call.
pub fn repeat(contestant: &mut dyn Contestant, seconds: f64) -> f64 {
    contestant.run();
    let (start, mut calls) = (Instant::now(), 0);
    while start.elapsed().as_secs_f64() < seconds {
        contestant.run();
        calls += 1;
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

struct Runner<'c> {
    contestant: &'c mut dyn Contestant,
    call: Duration,
    seconds: Vec<f64>,
}

impl<'c> Runner<'c> {
    fn warm_up(contestant: &'c mut dyn Contestant) -> Self {
        let seconds = repeat(contestant, TURN.as_secs_f64());
        Self { contestant, call: Duration::from_secs_f64(seconds), seconds: Vec::new() }
    }

    fn is_slow(&self) -> bool {
        self.call > SLOW
    }

    fn turn(&mut self) {
        sleep(PAUSE);
        let calls = TURN.div_duration_f64(self.call).ceil() as u32;
        // Untimed, to bring the weights back into the caches and the workers out of bed.
        for _ in 0..calls.div_ceil(4) {
            self.contestant.run();
        }
        let start = Instant::now();
        for _ in 0..calls {
            self.contestant.run();
        }
        self.seconds.push(start.elapsed().as_secs_f64() / f64::from(calls));
    }

    fn finish(mut self) -> Timing {
        self.seconds.sort_by(f64::total_cmp);
        Timing { median: self.seconds[self.seconds.len() / 2], best: self.seconds[0] }
    }
}
