//! INT8 parameters in the files of Burn's recorders.

use burn::backend::{Flex, NdArray};
use burn::module::Module;
use burn::nn;
use burn::record::{
    BinFileRecorder, BinGzFileRecorder, FileRecorder, FullPrecisionSettings, HalfPrecisionSettings,
    JsonGzFileRecorder, NamedMpkBytesRecorder, NamedMpkFileRecorder, NamedMpkGzFileRecorder,
    PrettyJsonFileRecorder, Recorder,
};
use burn_int8::Int8;
use burn_int8::prelude::*;
use tempfile::tempdir;

use super::B;
use crate::support::conv_case::{Case, conv_transpose2d, conv2d, one_of_each};
use crate::support::models::{Net, StockNet, burns_linear, floats, tensor};

type Full = FullPrecisionSettings;
type Mpk = NamedMpkBytesRecorder<Full>;

fn int8() -> StockNet<B> {
    StockNet::new(1).quantize(&Int8Config::new()).expect("float layers").0
}

fn output(model: &StockNet<B>) -> Vec<f32> {
    floats(model.forward(tensor([6, 8], 9)))
}

/// Everything that must hold for one recorder. With half precision all other parameters are rounded, so that outputs are near.
fn check_files<R: FileRecorder<B> + FileRecorder<NdArray>>(tolerance: f32) {
    let (folder, recorder) = (tempdir().expect("a folder"), R::default());
    let path = |name: &str| folder.path().join(name);
    let bytes = |name: &str| {
        let extension = <R as FileRecorder<B>>::file_extension();
        std::fs::read(path(name).with_extension(extension)).expect("it was just saved")
    };
    let device = Default::default();
    let name = std::any::type_name::<R>();
    let model = int8();
    let assert_near = |got: Vec<f32>| {
        let error = got.iter().zip(output(&model)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(error <= tolerance, "{name}: {error}");
    };
    model.clone().save_file(path("int8"), &recorder).expect("a folder to write to");

    // Into a model that was just made, and into one that is INT8.
    for target in [StockNet::new(2), int8()] {
        let loaded = target.load_file(path("int8"), &recorder, &device).expect("its own file");
        assert_near(output(&loaded));
        assert_eq!(loaded.int8_report().int8_layers(), 7, "{name}");
        loaded.save_file(path("again"), &recorder).expect("a folder to write to");
        assert!(bytes("again") == bytes("int8"), "{name}: the same bytes again");
    }
    // The drop-in layers read it, on this backend and on that beneath.
    let drop_in =
        Net::<B>::fresh().load_file(path("int8"), &recorder, &device).expect("a file of the same model");
    assert_near(floats(drop_in.forward(tensor([6, 8], 9))));
    let beneath = Net::<NdArray>::fresh().load_file(path("int8"), &recorder, &device).expect("the same file");
    assert_near(floats(beneath.forward(tensor([6, 8], 9))));

    // Floats load everywhere, also into a model that was INT8.
    StockNet::<NdArray>::new(1).save_file(path("plain"), &recorder).expect("a folder to write to");
    let float = StockNet::<B>::new(2).load_file(path("plain"), &recorder, &device).expect("a float file");
    float.save_file(path("float"), &recorder).expect("a folder to write to");
    assert!(bytes("float") == bytes("plain"), "{name}: a float file is Burn's");
    let loaded = int8().load_file(path("plain"), &recorder, &device).expect("a float file");
    assert_eq!(loaded.int8_report().int8_layers(), 0, "{name}");
}

/// Outputs below 10, of norms that drop-in models round in another order.
const FULL: f32 = 1e-5;
/// Outputs below 10, of layers whose biases and norms were rounded to 11 bits: a value that comes to lie on the other side of a tie, or of
/// zero, moves an input by up to a step of its row, 10 / 127, and there are a few layers.
const HALF: f32 = 0.2;

#[test]
fn every_recorder() {
    check_files::<NamedMpkFileRecorder<Full>>(FULL);
    check_files::<NamedMpkGzFileRecorder<Full>>(FULL);
    check_files::<BinFileRecorder<Full>>(FULL);
    check_files::<BinGzFileRecorder<Full>>(FULL);
    check_files::<PrettyJsonFileRecorder<Full>>(FULL);
    check_files::<JsonGzFileRecorder<Full>>(FULL);
    check_files::<NamedMpkFileRecorder<HalfPrecisionSettings>>(HALF);
    check_files::<BinFileRecorder<HalfPrecisionSettings>>(HALF);
}

fn bytes<M: Module<B>>(model: M) -> Vec<u8> {
    Recorder::<B>::record(&Mpk::default(), model.into_record(), ()).expect("in memory")
}

fn load<M: Module<B>>(model: M, bytes: Vec<u8>) -> M {
    model.load_record(Mpk::default().load(bytes, &Default::default()).expect("its own bytes"))
}

#[test]
fn a_file_is_a_quarter() {
    let linear = || burns_linear::<B>(256, 256, true, 1);
    let float = bytes(linear()).len() as f64;
    let int8 = bytes(linear().quantize(&Int8Config::new()).expect("a float layer").0).len() as f64;
    assert!(int8 / float < 0.27, "{int8} of {float} bytes");
}

/// Weights of every kind; a convolution is saved before it was called, when its weight knows no groups, and after.
#[test]
fn every_kind_of_layer() {
    let linear = |seed| {
        let config = nn::LinearConfig::new(32, 5).with_layout(nn::LinearLayout::Col);
        config.init::<B>(&Default::default()).load_record(burns_linear::<B>(5, 32, false, seed).into_record())
    };
    let x = tensor::<B, 2>([3, 32], 2);
    let (int8, _) = linear(1).quantize(&Int8Config::new()).expect("a float layer");
    let loaded = load(linear(2), bytes(int8.clone()));
    assert_eq!(floats(loaded.forward(x.clone())), floats(int8.forward(x)));

    let [_, regular, _, _, transposed, _] = one_of_each();
    let x = tensor::<B, 4>(regular.shape(2), 5);
    let (int8, _) = conv2d::<B>(&regular).quantize(&Int8Config::new()).expect("a float layer");
    let before = bytes(int8.clone());
    let expected = floats(int8.forward(x.clone()));
    for bytes in [before, bytes(int8)] {
        let loaded = load(conv2d::<B>(&regular), bytes.clone());
        assert_eq!(floats(loaded.forward(x.clone())), expected);
        let drop_in = load(burn_int8::nn::Conv2d::<B>::from(conv2d(&regular)), bytes);
        assert_eq!(floats(drop_in.forward(x.clone())), expected);
    }
    let x = tensor::<B, 4>(transposed.shape(2), 5);
    let (int8, _) = conv_transpose2d::<B>(&transposed).quantize(&Int8Config::new()).expect("a float layer");
    let loaded = load(conv_transpose2d::<B>(&transposed), bytes(int8.clone()));
    assert_eq!(floats(loaded.forward(x.clone())), floats(int8.forward(x)));
}

/// Groups without a bias: a weight can't know them, and outputs of all groups share a scale.
#[test]
fn groups_that_nobody_tells() {
    let [_, _, _, _, case, _] = one_of_each();
    let case = Case { bias: false, ..case };
    let x = tensor::<B, 4>(case.shape(1), 5);
    let float = floats(conv_transpose2d::<B>(&case).forward(x.clone()));
    let (int8, _) = conv_transpose2d::<B>(&case).quantize(&Int8Config::new()).expect("a float layer");
    let close = |ys: Vec<f32>| ys.iter().zip(&float).all(|(y, float)| (y - float).abs() < 0.05);
    let before = bytes(int8.clone());
    assert!(close(floats(int8.forward(x.clone()))));
    for bytes in [before, bytes(int8)] {
        assert!(close(floats(load(conv_transpose2d::<B>(&case), bytes).forward(x.clone()))));
    }
}

/// Both backends in host memory read the same bytes and give the same bits.
#[test]
fn another_backend_beneath() {
    let (model, x) = (int8(), tensor::<Int8<Flex>, 2>([6, 8], 9));
    let record = Mpk::default().load(bytes(model.clone()), &Default::default()).expect("its own bytes");
    let flex = StockNet::<Int8<Flex>>::new(2).load_record(record);
    assert_eq!(flex.int8_report().int8_layers(), 7);
    let close = floats(flex.forward(x)).into_iter().zip(output(&model)).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close, "the backends round norms differently");
}

/// Burn asks a backend for the tensor of a record, which has no error to give.
#[test]
#[should_panic(expected = "not implemented")]
fn a_backend_without_int8() {
    let record = Mpk::default().load(bytes(int8()), &Default::default()).expect("Burn reads the file");
    StockNet::<NdArray>::new(1).load_record(record);
}
