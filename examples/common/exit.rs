//! The end of a program: exit code and message.

use std::error::Error;
use std::io::{self, Write};
use std::iter::successors;
use std::process::ExitCode;

/// Says what went wrong, if anything did.
pub fn code(result: Result<(), impl Into<Box<dyn Error>>>) -> ExitCode {
    let Err(error) = result.map_err(Into::into) else { return ExitCode::SUCCESS };
    // Who closes a pipe has read enough, as `head` has: nothing went wrong.
    if is_closed_pipe(&*error) {
        return ExitCode::SUCCESS;
    }
    // Not `eprintln!`, which panics where nobody listens.
    let _ = writeln!(io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut io = successors(Some(error), |&error| error.source()).filter_map(|error| error.downcast_ref());
    io.any(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}
