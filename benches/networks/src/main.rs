//! Times whole networks in burn-int8, in Burn and in ONNX Runtime, interleaved in one process; see README.md.

mod case;
mod cli;
mod contestant;
mod networks;
mod onnx;
mod race;
mod random;
mod table;

use std::process::{Command, ExitCode};

use case::Case;
use cli::Options;
use contestant::{Column, Contestant, Problem};
use onnx::Onnx;
use table::{Cell, Table, milliseconds};

/// The variable that burn-int8 and Burn obey, and ONNX Runtime through this program.
const THREADS: &str = "RAYON_NUM_THREADS";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{}", cli::USAGE);
            return ExitCode::FAILURE;
        }
    };
    let outcome = match options.threads {
        Some(threads) if threads != self::threads() => with_threads(threads),
        _ => run(&options).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// Starts this program again: its libraries read the environment before anyone can change it.
fn with_threads(threads: usize) -> Result<ExitCode, Problem> {
    let mut again = Command::new(std::env::current_exe()?);
    let threads = threads.to_string();
    let variables = [(THREADS, &threads), ("MATMUL_NUM_THREADS", &threads)];
    let status = again.args(std::env::args().skip(1)).envs(variables).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The number of threads that rayon takes.
fn threads() -> usize {
    let set = std::env::var(THREADS).ok().and_then(|value| value.parse().ok());
    set.filter(|&threads| threads > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

fn run(options: &Options) -> Result<(), Problem> {
    println!("{} threads, burn-int8 kernel `{}`", threads(), burn_int8::cpu_kernel());
    let mut onnx = None;
    if options.columns.iter().any(|column| column.needs_onnx()) {
        match Onnx::load(options.models.clone(), threads()) {
            Ok(loaded) => onnx = Some(loaded),
            Err(error) => eprintln!("left out: ONNX Runtime: {error}"),
        }
    }
    if let Some(seconds) = options.seconds {
        return profile(options, seconds, onnx.as_ref());
    }
    let mut table = Table::new(&options.columns);
    for case in options.cases() {
        let row = contest(&case, options, onnx.as_ref())?;
        table.add(case, row);
    }
    table.finish();
    Ok(())
}

/// Calls one contestant for some seconds in each case.
fn profile(options: &Options, seconds: f64, onnx: Option<&Onnx>) -> Result<(), Problem> {
    for case in options.cases() {
        if let Some(mut contestant) = options.columns[0].build(&case, onnx).transpose()? {
            println!("{case}: {} ms", milliseconds(race::repeat(contestant.as_mut(), seconds)));
        }
    }
    Ok(())
}

/// Checks all contestants of a case, and times them.
fn contest(case: &Case, options: &Options, onnx: Option<&Onnx>) -> Result<Vec<(Column, Cell)>, Problem> {
    let expected = reference(case)?.output()?;
    let (mut columns, mut errors, mut contestants) = (Vec::new(), Vec::new(), Vec::new());
    for &column in &options.columns {
        if let Some(mut contestant) = column.build(case, onnx).transpose()? {
            let error = relative_rms(&contestant.output()?, &expected);
            if error.is_nan() || error > column.tolerance() {
                return Err(format!("{case}: {} is wrong, its error is {error}", column.title()).into());
            }
            errors.push(error);
            columns.push(column);
            contestants.push(contestant);
        }
    }
    let timings = race::race(&mut contestants, options.rounds);
    let cells = timings.into_iter().zip(errors).map(|(timing, error)| Cell { timing, error });
    Ok(columns.into_iter().zip(cells).collect())
}

/// Whose answers the others are compared with.
fn reference(case: &Case) -> Result<Box<dyn Contestant>, Problem> {
    networks::build::<burn::backend::Flex, contestant::Float>(case)
}

/// Root mean square of the differences, relative to that of the expected values; infinite if there is nothing to compare.
fn relative_rms(output: &[f32], expected: &[f32]) -> f64 {
    if output.len() != expected.len() {
        return f64::INFINITY;
    }
    let (mut noise, mut signal) = (0.0, 0.0);
    for (&y, &e) in output.iter().zip(expected) {
        let (y, e) = (f64::from(y), f64::from(e));
        noise += (y - e) * (y - e);
        signal += e * e;
    }
    (noise / signal).sqrt()
}
