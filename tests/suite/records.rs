//! Files and bytes: Burn's own while float, a quarter of them when INT8, the same numbers after a reload.

mod layers;
mod malformed;

use burn::backend::{Flex, NdArray};
use burn::module::Module;
use burn::nn;
use burn::record::{
    BinBytesRecorder, BinFileRecorder, BinGzFileRecorder, DoublePrecisionSettings, FileRecorder,
    FullPrecisionSettings, HalfPrecisionSettings, JsonGzFileRecorder, NamedMpkBytesRecorder,
    NamedMpkFileRecorder, NamedMpkGzFileRecorder, PrecisionSettings, PrettyJsonFileRecorder, Recorder,
};
use burn::tensor::Element;
use burn_int8::RECORD_VERSION;
use burn_int8::nn::{Linear, LinearConfig, LinearLayout, QLinear};
use burn_int8::prelude::*;
use tempfile::tempdir;

use crate::support::models::{Net, StockNet, burns_linear, floats, tensor};

type B = NdArray;
type Mpk<S = FullPrecisionSettings> = NamedMpkBytesRecorder<S>;

fn mpk<M: Module<B>>(model: M) -> Vec<u8> {
    Mpk::<FullPrecisionSettings>::default().record(model.into_record(), ()).expect("in memory")
}

fn load_mpk<M: Module<B>>(model: M, bytes: Vec<u8>) -> Result<M, burn::record::RecorderError> {
    let device = Default::default();
    Ok(model.load_record(Mpk::<FullPrecisionSettings>::default().load(bytes, &device)?))
}

fn quantized(config: &Int8Config) -> Net<B> {
    Net::new(1).quantize(config).expect("float layers").0
}

fn output(model: &Net<B>) -> Vec<f32> {
    floats(model.forward(tensor([6, 8], 9)))
}

/// Everything that must hold for one recorder.
fn check_files<R: FileRecorder<B>>(name: &str, binary: bool) {
    let float_size = <R::Settings as PrecisionSettings>::FloatElem::dtype().size();
    let (folder, device, recorder) = (tempdir().expect("a folder"), Default::default(), R::default());
    let path = |name: &str| folder.path().join(name);
    let bytes = |name: &str| {
        std::fs::read(path(name).with_extension(R::file_extension())).expect("it was just saved")
    };

    // Float: the same bytes as Burn's own, and each loads the other's.
    let stock = StockNet::<B>::new(1);
    stock.clone().save_file(path("stock"), &recorder).expect("a folder to write to");
    Net::from(stock).save_file(path("ours"), &recorder).expect("a folder to write to");
    assert!(bytes("stock") == bytes("ours"), "{name}: not Burn's bytes");
    let ours = Net::<B>::fresh().load_file(path("stock"), &recorder, &device).expect("Burn's file");
    let stock = StockNet::<B>::new(2).load_file(path("ours"), &recorder, &device).expect("our file");
    assert!(!ours.head.is_int8());
    let mut again = Net::from(stock);
    assert_eq!(output(&again), output(&ours), "{name}");

    // INT8: loads into a fresh float model, and into an INT8 one.
    for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
        for range in [QuantRange::Symmetric, QuantRange::Full] {
            let model = quantized(&Int8Config::new().with_mode(activations).with_range(range));
            model.clone().save_file(path("int8"), &recorder).expect("a folder to write to");
            for target in [Net::fresh(), quantized(&Int8Config::new()), again.clone()] {
                let loaded = target.load_file(path("int8"), &recorder, &device).expect("its own file");
                let layer = loaded.head.as_int8().expect("INT8");
                assert_eq!(layer.scheme(), model.head.as_int8().expect("INT8").scheme());
                assert_eq!(layer.integers(), model.head.as_int8().expect("INT8").integers());
                assert_eq!(output(&loaded), output(&model), "{name}: {activations:?} {range:?}");
            }
            // And float loads into INT8: the layer becomes what was saved.
            again = model.load_file(path("ours"), &recorder, &device).expect("our file");
            assert!(!again.head.is_int8());
            assert_eq!(output(&again), output(&ours), "{name}");
        }
    }

    if binary && !name.contains("Half") {
        let large: Linear<B> = LinearConfig::new(1024, 1024).init(&device);
        large.clone().save_file(path("large"), &recorder).expect("a folder to write to");
        let large_bytes = large.num_params() * float_size;
        let (large, _) = large.quantize(&Int8Config::new()).expect("a float layer");
        large.save_file(path("small"), &recorder).expect("a folder to write to");
        // gzip takes a tenth off random floats, and nothing off random bytes: it is measured against the plain size.
        let plain = large_bytes as f64;
        let before = if R::file_extension().ends_with("gz") { plain } else { bytes("large").len() as f64 };
        let after = bytes("small").len() as f64;
        assert!(after / before <= 0.256, "{name}: {after} of {before} bytes");
    }
}

fn check_precision<S: PrecisionSettings>(precision: &str) {
    check_files::<NamedMpkFileRecorder<S>>(&format!("NamedMpk {precision}"), true);
    check_files::<NamedMpkGzFileRecorder<S>>(&format!("NamedMpkGz {precision}"), true);
    check_files::<BinFileRecorder<S>>(&format!("Bin {precision}"), true);
    check_files::<BinGzFileRecorder<S>>(&format!("BinGz {precision}"), true);
    check_files::<PrettyJsonFileRecorder<S>>(&format!("PrettyJson {precision}"), false);
    check_files::<JsonGzFileRecorder<S>>(&format!("JsonGz {precision}"), false);
}

#[test]
fn all_file_recorders_full_precision() {
    check_precision::<FullPrecisionSettings>("Full");
}

#[test]
fn all_file_recorders_half_precision() {
    check_precision::<HalfPrecisionSettings>("Half");
}

#[test]
fn all_file_recorders_double_precision() {
    check_precision::<DoublePrecisionSettings>("Double");
}

#[test]
fn byte_recorders() {
    fn check<S: PrecisionSettings>() {
        let (bin, mpk) = (BinBytesRecorder::<S>::default(), Mpk::<S>::default());
        let device = Default::default();
        let stock = StockNet::<B>::new(1);
        let ours = Net::from(stock.clone());
        let bytes = |record| Recorder::<B>::record(&bin, record, ()).expect("in memory");
        let stock_bytes = Recorder::<B>::record(&bin, stock.clone().into_record(), ()).expect("in memory");
        assert!(
            stock_bytes == Recorder::<B>::record(&bin, ours.clone().into_record(), ()).expect("in memory")
        );
        let stock_bytes = Recorder::<B>::record(&mpk, stock.into_record(), ()).expect("in memory");
        assert!(stock_bytes == Recorder::<B>::record(&mpk, ours.into_record(), ()).expect("in memory"));
        let model = quantized(&Int8Config::new());
        let loaded =
            Recorder::<B>::load(&bin, bytes(model.clone().into_record()), &device).expect("its own bytes");
        let loaded = Net::<B>::fresh().load_record(loaded);
        assert_eq!(loaded.gate.expect("a gate").as_int8().expect("INT8").integers(), {
            model.gate.expect("a gate").as_int8().expect("INT8").integers()
        });
    }
    check::<FullPrecisionSettings>();
    check::<HalfPrecisionSettings>();
    check::<DoublePrecisionSettings>();
}

/// One scale file: what the report knew is still known after a reload.
#[test]
fn the_report_survives_a_reload() {
    let (model, report) = Net::<B>::new(1).quantize(&Int8Config::new()).expect("float layers");
    let loaded = load_mpk(Net::fresh(), mpk(model)).expect("its own bytes").int8_report();
    for (before, after) in report.layers.iter().zip(&loaded.layers) {
        assert_eq!((before.action, after.action), (Action::Quantized, Action::AlreadyInt8));
        assert_eq!(before.sqnr_db, after.sqnr_db);
        assert_eq!((before.bytes_before, before.bytes_after), (after.bytes_before, after.bytes_after));
    }
}

/// A file of one backend runs on another, with the same output.
#[test]
fn another_backend_loads_the_same_file() {
    let model = quantized(&Int8Config::new());
    let device = Default::default();
    let record = Mpk::<FullPrecisionSettings>::default().load(mpk(model.clone()), &device);
    let flex = Net::<Flex>::fresh().load_record(record.expect("the same bytes"));
    let x = tensor::<Flex, 2>([6, 8], 9);
    for (layer, expected) in [(&flex.head, &model.head), (&flex.input, &model.input)] {
        let (layer, expected) = (layer.as_int8().expect("INT8"), expected.as_int8().expect("INT8"));
        assert_eq!((layer.integers(), layer.scales()), (expected.integers(), expected.scales()));
    }
    let first = floats(flex.input.forward(x));
    assert_eq!(first, floats(model.input.forward(tensor([6, 8], 9))));
}

/// A layer kept transposed saves float weights as Burn's does; INT8 weights load into either layout.
#[test]
fn layouts_load_right_even_where_the_weight_is_square() {
    let device = Default::default();
    let stock = |layout| nn::LinearConfig::new(4, 4).with_layout(layout).init::<B>(&device);
    let ours = |layout| LinearConfig::new(4, 4).with_layout(layout).init::<B>(&device);
    let (row, col) = (LinearLayout::Row, LinearLayout::Col);
    let x = tensor::<B, 2>([3, 4], 1);

    let original = stock(col);
    let expected = floats(original.forward(x.clone()));
    let saved = mpk(original.clone());
    let original: Linear<B> = original.into();
    assert_eq!(saved, mpk(original.clone()));
    let loaded = load_mpk(ours(col), saved.clone()).expect("Burn's bytes");
    assert_eq!(floats(loaded.forward(x.clone())), expected);

    let (int8, _) = original.quantize(&Int8Config::new()).expect("a float layer");
    let expected_int8 = floats(int8.forward(x.clone()));
    for layout in [row, col] {
        let loaded = load_mpk(ours(layout), mpk(int8.clone())).expect("its own bytes");
        assert_eq!(floats(loaded.forward(x.clone())), expected_int8);
    }
    // A transposed float record loads right into what became INT8 from a transposed layer.
    let loaded = load_mpk(int8, saved).expect("Burn's bytes");
    assert_eq!(floats(loaded.forward(x)), expected);
}

#[test]
fn an_int8_only_layer_saves_and_loads() {
    let layer =
        QLinear::from_float(&burns_linear::<B>(6, 4, true, 1), &LayerScheme::default()).expect("finite");
    let x = tensor::<B, 2>([3, 6], 1);
    let loaded = load_mpk(LinearConfig::new(6, 4).init_int8(&Default::default()), mpk(layer.clone()));
    assert_eq!(floats(loaded.expect("its own bytes").forward(x.clone())), floats(layer.forward(x.clone())));
    // The drop-in layer reads the same bytes.
    let loaded = load_mpk::<Linear<B>>(LinearConfig::new(6, 4).init(&Default::default()), mpk(layer.clone()));
    assert_eq!(floats(loaded.expect("the same bytes").forward(x.clone())), floats(layer.forward(x)));
}

mod misfits {
    //! Records that do not fit: a clear panic, as Burn's own, or an error.

    use super::*;

    fn float(k: usize, n: usize, bias: bool) -> Linear<B> {
        burns_linear(k, n, bias, 1).into()
    }

    fn int8(k: usize, n: usize, bias: bool) -> Linear<B> {
        float(k, n, bias).quantize(&Int8Config::new()).expect("a float layer").0
    }

    #[test]
    #[should_panic(
        expected = "the record holds [8, 4] with a bias of 4, but the layer is [4, 8] with a bias of 8"
    )]
    fn float_into_float() {
        let _ = load_mpk(float(4, 8, true), mpk(float(8, 4, true)));
    }

    #[test]
    #[should_panic(
        expected = "the record holds [8, 4] with a bias of 4, but the layer is [4, 8] with a bias of 8"
    )]
    fn int8_into_float() {
        let _ = load_mpk(float(4, 8, true), mpk(int8(8, 4, true)));
    }

    #[test]
    #[should_panic(
        expected = "the record holds [8, 4] with a bias of 4, but the layer is [4, 8] with a bias of 8"
    )]
    fn int8_into_int8() {
        let _ = load_mpk(int8(4, 8, true), mpk(int8(8, 4, true)));
    }

    #[test]
    #[should_panic(
        expected = "the record holds [8, 4] with a bias of 4, but the layer is [4, 8] with a bias of 8"
    )]
    fn float_into_int8() {
        let _ = load_mpk(int8(4, 8, true), mpk(float(8, 4, true)));
    }

    #[test]
    #[should_panic(
        expected = "the record holds [4, 8] without bias, but the layer is [4, 8] with a bias of 8"
    )]
    fn a_bias_is_not_lost() {
        let _ = load_mpk(float(4, 8, true), mpk(int8(4, 8, false)));
    }

    #[test]
    #[should_panic(
        expected = "the record holds [4, 8] with a bias of 8, but the layer is [4, 8] without bias"
    )]
    fn a_bias_is_not_ignored() {
        let _ = load_mpk(float(4, 8, false), mpk(float(4, 8, true)));
    }

    #[test]
    #[should_panic(expected = "load it into `burn_int8::nn::Linear`")]
    fn float_into_an_int8_only_layer() {
        let layer: QLinear<B> = LinearConfig::new(4, 8).init_int8(&Default::default());
        let _ = load_mpk(layer, mpk(float(4, 8, true)));
    }
}
