//! Damaged records: reading one is an error or gives what can be saved and read again, and never panics.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use burn::backend::NdArray;
use burn::module::Module;
use burn::record::{
    BinBytesRecorder, BinFileRecorder, BytesRecorder, FullPrecisionSettings, NamedMpkBytesRecorder, Record,
    Recorder, RecorderError,
};
use burn_int8::nn::{Conv1d, Conv1dConfig, ConvTranspose1d, ConvTranspose1dConfig};
use burn_int8::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn_int8::prelude::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

type B = NdArray;
type Mpk = NamedMpkBytesRecorder<FullPrecisionSettings>;
type Bin = BinBytesRecorder<FullPrecisionSettings>;

/// Valid records of one layer, float and INT8.
struct Valid {
    mpk: [Vec<u8>; 2],
    bin: [Vec<u8>; 2],
}

impl Valid {
    fn new<M: Module<B>>(layer: M) -> Self {
        let (int8, _) = layer.clone().quantize(&Int8Config::new()).unwrap();
        Self { mpk: both(&Mpk::default(), &layer, &int8), bin: both(&Bin::default(), &layer, &int8) }
    }
}

fn both<M: Module<B>>(recorder: &impl BytesRecorder<B, Vec<u8>>, float: &M, int8: &M) -> [Vec<u8>; 2] {
    [float, int8].map(|layer| recorder.record(layer.clone().into_record(), ()).unwrap())
}

static LINEAR: LazyLock<Valid> =
    LazyLock::new(|| Valid::new::<Linear<B>>(LinearConfig::new(4, 3).init(&Default::default())));
static CONV: LazyLock<Valid> = LazyLock::new(|| {
    Valid::new::<Conv1d<B>>(Conv1dConfig::new(4, 6, 3).with_groups(2).init(&Default::default()))
});
static TRANSPOSED: LazyLock<Valid> = LazyLock::new(|| {
    let config = ConvTranspose1dConfig::new([4, 6], 3).with_groups(2);
    Valid::new::<ConvTranspose1d<B>>(config.init(&Default::default()))
});
static EMBEDDING: LazyLock<Valid> =
    LazyLock::new(|| Valid::new::<Embedding<B>>(EmbeddingConfig::new(5, 4).init(&Default::default())));

fuzz_target!(|data: &[u8]| {
    // Data that ends too early damages nothing.
    let _ = check(&mut Unstructured::new(data));
});

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=3)? {
        0 => check_layer::<Linear<B>>(&LINEAR, u),
        1 => check_layer::<Conv1d<B>>(&CONV, u),
        2 => check_layer::<ConvTranspose1d<B>>(&TRANSPOSED, u),
        _ => check_layer::<Embedding<B>>(&EMBEDDING, u),
    }
}

fn check_layer<M: Module<B>>(valid: &Valid, u: &mut Unstructured<'_>) -> Result<()> {
    let (mpk, from) = (u.arbitrary()?, u.int_in_range(0..=2)?);
    let records = if mpk { &valid.mpk } else { &valid.bin };
    let bytes = match records.get(from) {
        Some(record) => damage(record.clone(), u)?,
        None => u.bytes(u.len())?.to_vec(),
    };
    if mpk {
        read::<M>(&Mpk::default(), load_mpk, bytes)
    } else {
        read::<M>(&Bin::default(), load_bin, bytes)
    }
    Ok(())
}

/// Changes bytes of a record until the data ends.
fn damage(mut bytes: Vec<u8>, u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    while !u.is_empty() && !bytes.is_empty() {
        let (at, value) = (u.choose_index(bytes.len())?, u.arbitrary()?);
        match u.int_in_range(0..=5)? {
            0 => bytes[at] ^= value,
            1 => bytes[at] = value,
            2 => bytes.insert(at, value),
            3 => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            _ => bytes[at..].iter_mut().take(8).for_each(|byte| *byte = value),
        }
    }
    Ok(bytes)
}

/// Reads a record; if that is possible, saving it and reading it again must be, too, and give the same bytes.
fn read<M: Module<B>>(
    recorder: &impl BytesRecorder<B, Vec<u8>>,
    load: fn(Vec<u8>) -> std::result::Result<M::Record, RecorderError>,
    bytes: Vec<u8>,
) {
    let save = |record| recorder.record::<M::Record>(record, ()).unwrap();
    if let Ok(record) = load(bytes) {
        let saved = save(record);
        assert!(saved == save(load(saved.clone()).unwrap()));
    }
}

fn load_mpk<R: Record<B>>(bytes: Vec<u8>) -> std::result::Result<R, RecorderError> {
    Mpk::default().load(bytes, &Default::default())
}

/// Reads from a file: Burn's `BinBytesRecorder`, which writes the same bytes, unwraps the errors that it meets.
fn load_bin<R: Record<B>>(bytes: Vec<u8>) -> std::result::Result<R, RecorderError> {
    static FILE: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::temp_dir().join(format!("burn-int8-fuzz-{}.bin", std::process::id())));
    std::fs::write(&*FILE, bytes).unwrap();
    BinFileRecorder::<FullPrecisionSettings>::default().load(FILE.clone(), &Default::default())
}
