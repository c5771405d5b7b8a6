//! The stopwatch: peers take turns, so that whatever else the machine does hits all of them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::peers::Peer;

/// The time that one peer runs before the next one does.
const TURN: Duration = Duration::from_millis(20);
/// Idle workers spin before they sleep, those of ONNX Runtime for some 40 ms: they must not slow the next peer down.
const PAUSE: Duration = Duration::from_millis(75);
/// A peer with longer calls than this takes part in the first rounds only.
const SLOW: Duration = Duration::from_millis(200);
const SLOW_ROUNDS: usize = 3;

/// Seconds that a call took, on the average of a round: over all rounds.
pub struct Timing {
    pub name: &'static str,
    pub median: f64,
    pub best: f64,
    pub error: Option<f64>,
}

pub fn race(peers: Vec<Peer>, rounds: usize) -> Vec<Timing> {
    let mut runners: Vec<_> = peers.into_iter().map(Runner::warm_up).collect();
    for round in 0..rounds {
        // Another one begins each time, so that nobody always runs behind the same peer's leftovers.
        let first = round % runners.len().max(1);
        runners.rotate_left(first);
        runners.iter_mut().filter(|r| round < SLOW_ROUNDS || !r.slow).for_each(Runner::turn);
        runners.rotate_right(first);
    }
    runners.into_iter().map(Runner::finish).collect()
}

struct Runner {
    peer: Peer,
    calls: u32,
    slow: bool,
    seconds: Vec<f64>,
}

impl Runner {
    fn warm_up(mut peer: Peer) -> Self {
        (peer.call)();
        let (start, mut calls) = (Instant::now(), 0);
        while calls == 0 || start.elapsed() < TURN {
            (peer.call)();
            calls += 1;
        }
        let slow = start.elapsed() / calls > SLOW;
        Self { peer, calls, slow, seconds: Vec::new() }
    }

    fn turn(&mut self) {
        sleep(PAUSE);
        // Untimed, to bring the weights back into the caches and the workers out of bed.
        for _ in 0..self.calls.div_ceil(4) {
            (self.peer.call)();
        }
        let start = Instant::now();
        for _ in 0..self.calls {
            (self.peer.call)();
        }
        self.seconds.push(start.elapsed().as_secs_f64() / f64::from(self.calls));
    }

    fn finish(mut self) -> Timing {
        self.seconds.sort_by(f64::total_cmp);
        let (median, best) = (self.seconds[self.seconds.len() / 2], self.seconds[0]);
        Timing { name: self.peer.name, median, best, error: self.peer.error }
    }
}
