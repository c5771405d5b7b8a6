//! Damaged records: reading one is an error or gives what can be saved and read again, and never panics.

#![no_main]

use std::sync::LazyLock;

use burn::backend::NdArray;
use burn::module::Module;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::nn::{Conv1d, Conv1dConfig, ConvTranspose1d, ConvTranspose1dConfig};
use burn_int8::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn_int8::prelude::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

type B = NdArray;
type Mpk = NamedMpkBytesRecorder<FullPrecisionSettings>;

/// Valid records of one layer, float and INT8. Burn's binary format is left out: its reader allocates whatever size a file claims.
struct Valid([Vec<u8>; 2]);

impl Valid {
    fn new<M: Module<B>>(layer: M) -> Self {
        let (int8, _) = layer.clone().quantize(&Int8Config::new()).unwrap();
        Self([layer, int8].map(|layer| save::<M>(layer.into_record())))
    }
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
    let bytes = match valid.0.get(u.int_in_range(0..=2)?) {
        Some(record) => damage(record.clone(), u)?,
        None => u.bytes(u.len())?.to_vec(),
    };
    read::<M>(bytes);
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
fn read<M: Module<B>>(bytes: Vec<u8>) {
    let load = |bytes| Mpk::default().load::<M::Record>(bytes, &Default::default());
    if let Ok(record) = load(bytes) {
        let saved = save::<M>(record);
        assert!(saved == save::<M>(load(saved.clone()).unwrap()));
    }
}

fn save<M: Module<B>>(record: M::Record) -> Vec<u8> {
    Recorder::<B>::record(&Mpk::default(), record, ()).unwrap()
}
