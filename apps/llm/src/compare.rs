//! The whole walk: float, INT8, saved, reloaded, side by side.

use std::fs::File;
use std::io::{BufReader, Read, Write, stdout};
use std::path::Path;
use std::time::Instant;

use burn::prelude::*;
use burn_int8::prelude::*;

use crate::bandwidth::bandwidth;
use crate::error::ModelError;
use crate::generate::Generated;
use crate::load::Quantized;
use crate::model::Decoder;
use crate::source::OpenModel;
use crate::tokens::Tokens;
use crate::writing::Writing;
use crate::{MEMORY, record, show};

/// The things that the walk needs at each step.
pub struct Walk<'a> {
    pub model: &'a OpenModel,
    pub writing: &'a Writing,
    pub tokens: Option<Tokens>,
    /// The folder of the files.
    pub folder: &'a Path,
}

/// One of the models.
struct Side {
    text: Generated,
    load: f64,
    peak: u64,
    /// The peak until its file was written, without what the measurement of the bandwidth takes.
    whole_peak: usize,
    memory: u64,
    file: u64,
    report: Report,
    /// Bytes a second that the machine reads: measured right after the text, as others may use it, too.
    bandwidth: f64,
}

impl Walk<'_> {
    /// Gives what the program took at most, but for the measurements of the bandwidth.
    pub fn run<B: Backend>(&self, int8: &Int8Config) -> Result<usize, ModelError> {
        let float = self.side::<B>("float", None)?;
        let quantized = self.side::<B>("INT8", Some(int8))?;
        writeln!(stdout(), "\nINT8, reloaded:")?;
        let path = self.folder.join("INT8");
        let reloaded: Decoder<B> = record::load(&self.model.config, &self.model.name, &path)?;
        let again = self.write(&reloaded)?;
        let copy = self.folder.join("INT8-again");
        record::save(reloaded, &copy)?;
        let same = same_bytes(&record::file(&path), &record::file(&copy))?;
        show::table(&rows(&float, &quantized))?;
        let (text, bytes) = (again.tokens == quantized.text.tokens, same);
        let (text_is, bytes_are) = (is_same(text), is_same(bytes));
        writeln!(stdout(), "\nreloaded: {text_is} text, {bytes_are} bytes when saved again")?;
        let first = differs(&float.text, &quantized.text);
        writeln!(stdout(), "first token that differs between float and INT8: {first}")?;
        let peak = float.whole_peak.max(quantized.whole_peak).max(MEMORY.peak_usage());
        if text && bytes { Ok(peak) } else { Err(ModelError::NotReloaded) }
    }

    fn side<B: Backend>(&self, name: &str, int8: Quantized<'_>) -> Result<Side, ModelError> {
        writeln!(stdout(), "\n{name}:")?;
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let start = Instant::now();
        let (model, report) = self.model.load::<B>(int8)?;
        let load = start.elapsed().as_secs_f64();
        let peak = (MEMORY.peak_usage() - before) as u64;
        let memory = MEMORY.current_usage().saturating_sub(before) as u64;
        let text = self.write(&model)?;
        let before_bandwidth = MEMORY.peak_usage();
        let bandwidth = bandwidth();
        MEMORY.reset_peak_usage();
        let file = record::save(model, &self.folder.join(name))?;
        let whole_peak = before_bandwidth.max(MEMORY.peak_usage());
        Ok(Side { text, load, peak, whole_peak, memory, file, report, bandwidth })
    }

    fn write<B: Backend>(&self, model: &Decoder<B>) -> Result<Generated, ModelError> {
        self.writing.run(model, &self.model.config, self.tokens.as_ref())
    }
}

fn rows(float: &Side, int8: &Side) -> Vec<Vec<String>> {
    let row = |name: &str, value: &dyn Fn(&Side) -> String, ratio: String| {
        vec![name.to_string(), value(float), value(int8), ratio]
    };
    let times = |float: f64, int8: f64| format!("{:.2} times", int8 / float);
    let change = |float: u64, int8: u64| format!("{:+.1} %", 100.0 * (int8 as f64 / float as f64 - 1.0));
    let decode = |side: &Side| side.text.decode_speed().unwrap_or(f64::NAN);
    let reached = |side: &Side| decode(side) * side.report.memory_bytes() as f64;
    let gigabytes = |bytes: f64| format!("{:.1} GB/s", bytes / 1e9);
    vec![
        ["", "float", "INT8", ""].map(String::from).to_vec(),
        row("matrices in INT8", &|side| side.report.int8_layers().to_string(), String::new()),
        row("file", &|side| show::size(side.file), change(float.file, int8.file)),
        row("model in memory", &|side| show::size(side.memory), change(float.memory, int8.memory)),
        row("peak memory while loading", &|side| show::size(side.peak), change(float.peak, int8.peak)),
        row("loading, quantizing", &|side| format!("{:.1} s", side.load), String::new()),
        row(
            "tokens read a second",
            &|side| format!("{:.1}", side.text.prefill_speed()),
            times(float.text.prefill_speed(), int8.text.prefill_speed()),
        ),
        row(
            "tokens written a second",
            &|side| format!("{:.1}", decode(side)),
            times(decode(float), decode(int8)),
        ),
        row("weights are read at", &|side| gigabytes(reached(side)), String::new()),
        row("this machine can read at", &|side| gigabytes(side.bandwidth), String::new()),
        row(
            "share of what it can read",
            &|side| format!("{:.0} %", 100.0 * reached(side) / side.bandwidth),
            String::new(),
        ),
    ]
}

fn is_same(same: bool) -> &'static str {
    if same { "the same" } else { "OTHER" }
}

fn differs(a: &Generated, b: &Generated) -> String {
    let first = a.tokens.iter().zip(&b.tokens).position(|(a, b)| a != b);
    first.map_or("none".into(), |first| (first + 1).to_string())
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, ModelError> {
    let open = |path: &Path| File::open(path).map_err(|source| ModelError::read(path, source));
    let (a_file, b_file) = (open(a)?, open(b)?);
    let [mut a_bytes, mut b_bytes] = [BufReader::new(a_file).bytes(), BufReader::new(b_file).bytes()];
    loop {
        match (a_bytes.next().transpose(), b_bytes.next().transpose()) {
            (Ok(None), Ok(None)) => return Ok(true),
            (Ok(x), Ok(y)) if x == y => {}
            (Ok(_), Ok(_)) => return Ok(false),
            (Err(source), _) => return Err(ModelError::read(a, source)),
            (_, Err(source)) => return Err(ModelError::read(b, source)),
        }
    }
}
