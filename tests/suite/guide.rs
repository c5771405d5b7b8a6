//! The guide's minimal model over 100 trainings, against what Keras reaches.

#[path = "../../examples/quickstart/model.rs"]
mod model;

use burn::backend::{Autodiff, NdArray};
use burn::module::Module;
use burn::prelude::*;
use burn::record::{FullPrecisionSettings, NamedMpkBytesRecorder, Recorder};
use burn_int8::prelude::*;
use model::{Mlp, evaluation_rows, mse, train};

/// Median over 100 seeds of Keras' own code on this model.
const KERAS_MEDIAN: f64 = 7.9e-6;

#[test]
fn as_accurate_as_keras_and_exact_after_a_reload() {
    let device = Default::default();
    let recorder = NamedMpkBytesRecorder::<FullPrecisionSettings>::default();
    let mut errors = Vec::new();
    for seed in 0..100 {
        Autodiff::<NdArray>::seed(&device, seed);
        let model = train(Mlp::<Autodiff<NdArray>>::keras(&device), &device);
        let x = evaluation_rows::<NdArray>(&device);
        let baseline = model.forward(x.clone());
        let (int8, _) = model.quantize(&Int8Config::new()).expect("two float layers");
        let output = int8.forward(x.clone());
        errors.push(mse(baseline, output.clone()));

        let bytes = Recorder::<NdArray>::record(&recorder, int8.into_record(), ()).expect("in memory");
        let record = recorder.load(bytes, &device).expect("its own bytes");
        let reloaded = Mlp::<NdArray>::new(&device).load_record(record);
        assert_eq!(mse(output, reloaded.forward(x)), 0.0);
    }
    errors.sort_by(f64::total_cmp);
    assert!(errors[0] > 0.0 && errors[50] <= KERAS_MEDIAN, "median {:e}", errors[50]);
}
