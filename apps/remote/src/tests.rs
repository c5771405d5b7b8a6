//! What a server computes against what its own backend does.

use burn::backend::NdArray;
use burn_int8::prelude::*;
use burn_int8::{Int8, QuantMode};
use burn_remote::RemoteBackend;

use crate::drop_in::Reader;
use crate::{file, loaded, scores, server, stock, tokens};

/// A float sum of 64 products in another order, each half an ulp (6e-8) off at most, of outputs below 10, in two layers.
const FLOAT_SUMS: f32 = 1e-4;

fn assert_near(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    let largest = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(largest <= tolerance, "{largest:e}, more than {tolerance:e}");
}

/// A float model with the same weights on both sides, as it is here.
fn float_file() -> Vec<u8> {
    file::<NdArray, _>(Reader::new(&Default::default())).expect("in memory")
}

fn here(file: Vec<u8>) -> Reader<NdArray> {
    let device = Default::default();
    loaded(Reader::new(&device), file, &device).expect("its own file")
}

#[test]
fn a_file_computes_the_same_there() {
    let device = server::start().expect("a free port");
    for (config, tolerance) in [
        (Int8Config::new(), 0.0),
        (Int8Config::keras(), 0.0),
        (Int8Config::new().with_range(QuantRange::Full), 0.0),
        (Int8Config::new().with_mode(QuantMode::WeightOnly), FLOAT_SUMS),
    ] {
        let (model, report) = here(float_file()).quantize(&config).expect("float layers");
        assert_eq!(report.int8_layers(), 4);
        let bytes = file(model.clone()).expect("in memory");
        let remote =
            loaded(Reader::<RemoteBackend>::new(&device), bytes.clone(), &device).expect("its own file");
        assert_eq!(remote.int8_report().int8_layers(), 4);
        assert!(file(remote.clone()).expect("in memory") == bytes, "the integers came back changed");
        let expected = scores(model.forward(tokens(&Default::default()))).expect("f32");
        assert_near(&scores(remote.forward(tokens(&device))).expect("f32"), &expected, tolerance);
    }
}

/// The weights are drawn there, and come here to be quantized.
#[test]
fn quantizing_there() {
    let device = server::start().expect("a free port");
    let bytes = float_file();
    let remote = loaded(Reader::<RemoteBackend>::new(&device), bytes.clone(), &device).expect("its own file");
    let (remote, _) = remote.quantize(&Int8Config::new()).expect("float layers");
    let (model, _) = here(bytes).quantize(&Int8Config::new()).expect("float layers");
    assert!(file(remote).expect("in memory") == file(model).expect("in memory"), "other integers");
}

/// Burn's own layers, on a backend around the remote one.
#[test]
fn burns_layers_there() {
    type B = Int8<RemoteBackend>;
    let device = server::start().expect("a free port");
    let bytes = float_file();
    let (model, _) = here(bytes.clone()).quantize(&Int8Config::new()).expect("float layers");
    let remote = loaded(stock::Reader::<B>::new(&device), bytes, &device).expect("Burn's own file");
    let float = scores(remote.forward(tokens(&device))).expect("f32");
    let (remote, report) = remote.quantize(&Int8Config::new()).expect("float layers");
    assert_eq!(report.int8_layers(), 4);
    let expected = scores(model.forward(tokens(&Default::default()))).expect("f32");
    let got = scores(remote.forward(tokens(&device))).expect("f32");
    assert!(got != float, "it is INT8");
    assert_near(&got, &expected, 0.0);
    let loaded = loaded(stock::Reader::<B>::new(&device), file(remote).expect("in memory"), &device);
    let got = scores(loaded.expect("its own file").forward(tokens(&device))).expect("f32");
    assert_near(&got, &expected, 0.0);
}

/// A server takes 16 MiB at once; with weights in one message it would hang up, and the client would wait for it.
#[test]
fn more_weights_than_a_message_holds() {
    let device = server::start().expect("a free port");
    let table = burn_int8::nn::EmbeddingConfig::new(300_000, 64).init_int8::<RemoteBackend>(&device);
    let rows = scores(table.forward(tokens(&device))).expect("f32");
    assert_eq!(rows, vec![0.0; 40 * 64], "a table of zeros");
}
