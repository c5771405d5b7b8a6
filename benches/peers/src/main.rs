//! Times one layer in burn-int8 and in its peers, interleaved in one process; see README.md.

mod cli;
mod onnx;
mod peers;
mod race;
mod shape;
mod table;
mod task;

use cli::Options;
use onnx::Onnx;
use peers::{OF_CONVS, OF_LINEARS, Peer, Ready, SUBJECT};
use shape::{CONVS, LINEARS, Shape};
use task::Task;

fn main() {
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => run(options),
        Err(error) => eprintln!("{error}\n{}", cli::USAGE),
    }
}

fn run(options: Options) {
    let threads = threads();
    println!("{threads} threads, burn-int8 kernel `{}`", burn_int8::cpu_kernel());
    let mut line_up = LineUp { only: options.only, onnx: None, notes: Vec::new() };
    if [onnx::FLOAT, onnx::DYNAMIC_INT8, onnx::STATIC_INT8].iter().any(|name| line_up.wants(name)) {
        match Onnx::load(options.models, threads) {
            Ok(onnx) => line_up.onnx = Some(onnx),
            Err(error) => line_up.note(format!("ONNX Runtime: {error}")),
        }
    }
    // One scale for a whole image costs more than one for each row.
    let tables = [
        ("linear layers", &LINEARS[..], options.linears, 0.02),
        ("convolutions", &CONVS[..], options.convs, 0.03),
    ];
    for (what, shapes, wanted, plausible) in tables {
        let mut table = table::Table::new(plausible);
        for &shape in shapes.iter().filter(|shape| wanted && (!options.small || shape.is_small())) {
            let peers = line_up.build(&Task::new(shape));
            table.add(shape, &race::race(peers, options.rounds));
        }
        table.finish(what);
    }
    table::explain(&line_up.notes);
}

/// The number of threads that rayon takes.
fn threads() -> usize {
    let set = std::env::var("RAYON_NUM_THREADS").ok().and_then(|value| value.parse().ok());
    set.filter(|&threads| threads > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The peers that take part, and why the others do not.
struct LineUp {
    only: String,
    onnx: Option<Onnx>,
    notes: Vec<String>,
}

impl LineUp {
    fn build(&mut self, task: &Task) -> Vec<Peer> {
        let mut peers = Vec::new();
        let (all, int8) = match task.shape {
            Shape::Linear(_) => (OF_LINEARS, onnx::DYNAMIC_INT8),
            Shape::Conv(_) => (OF_CONVS, onnx::STATIC_INT8),
        };
        for &(name, build) in all {
            self.enter(name, || build(task), &mut peers);
        }
        if let Some(onnx) = self.onnx.take() {
            self.enter(onnx::FLOAT, || onnx.float(task), &mut peers);
            self.enter(int8, || onnx.int8(task), &mut peers);
            self.onnx = Some(onnx);
        }
        peers
    }

    fn wants(&self, name: &str) -> bool {
        name == SUBJECT || name.contains(&self.only)
    }

    fn enter(&mut self, name: &'static str, build: impl FnOnce() -> Ready, peers: &mut Vec<Peer>) {
        if !self.wants(name) {
            return;
        }
        match build() {
            Ok((call, error)) => peers.push(Peer { name, call, error }),
            Err(error) => self.note(format!("{name}: {error}")),
        }
    }

    /// Says it at once, and again below the table; but not for every shape.
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            eprintln!("left out: {note}");
            self.notes.push(note);
        }
    }
}
