//! Files and bytes: Burn's own while float, a quarter of them when INT8, the same numbers after a reload.

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

use crate::model::{Net, StockNet, burns_linear, floats, tensor};

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
    for activations in [Activations::Dynamic, Activations::WeightOnly] {
        for range in [Range::Symmetric, Range::Full] {
            let model = quantized(&Int8Config::new().with_activations(activations).with_range(range));
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

mod lies {
    //! Files that lie: an error, never a panic, never wrong numbers.

    use super::*;
    use serde_json::{Value, json};

    /// Loads a JSON record of an INT8 layer after `change`, and returns the error.
    fn error_after(change: impl FnOnce(&mut Value)) -> String {
        let (folder, device) = (tempdir().expect("a folder"), Default::default());
        let recorder = PrettyJsonFileRecorder::<FullPrecisionSettings>::default();
        let layer: Linear<B> = burns_linear(4, 3, true, 1).into();
        let (layer, _) = layer.quantize(&Int8Config::new()).expect("a float layer");
        let path = folder.path().join("layer.json");
        layer.save_file(&path, &recorder).expect("a folder to write to");
        let text = std::fs::read_to_string(&path).expect("it was just saved");
        let mut json: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut json["item"]);
        std::fs::write(&path, json.to_string()).expect("a folder to write to");
        let target: Linear<B> = LinearConfig::new(4, 3).init(&device);
        match target.load_file(&path, &recorder, &device) {
            Ok(layer) => panic!("it loaded as {layer}"),
            Err(error) => error.to_string(),
        }
    }

    fn check(expected: &str, change: impl FnOnce(&mut Value)) {
        let error = error_after(change);
        assert!(error.contains(expected), "`{expected}` is not in `{error}`");
    }

    #[test]
    fn another_version() {
        for version in [0, 9] {
            let expected = format!("INT8 record version {version}, but this burn-int8 reads versions 1 to 2");
            check(&expected, |item| item["weight"]["int8"]["version"] = json!(version));
        }
    }

    #[test]
    fn a_shape_of_other_size() {
        check("12 bytes are no I8 values of shape [4, 4]", |item| {
            item["weight"]["integers"]["shape"] = json!([4, 4]);
        });
    }

    #[test]
    fn a_shape_that_overflows() {
        check("12 bytes are no I8 values of shape", |item| {
            item["weight"]["integers"]["shape"] = json!([u64::MAX, 2]);
        });
    }

    #[test]
    fn a_shape_of_other_rank() {
        check("a parameter of rank 2 can't have the shape [12]", |item| {
            item["weight"]["integers"]["shape"] = json!([12]);
        });
    }

    #[test]
    fn too_few_scales() {
        check("2 INT8 scales for 3 output channels", |item| {
            let scales = &mut item["weight"]["int8"]["scales"];
            scales["shape"] = json!([2]);
            scales["bytes"].as_array_mut().expect("bytes").truncate(8);
        });
    }

    #[test]
    fn a_scale_that_is_no_number() {
        check("the INT8 scale of output channel 1 is NaN", |item| {
            let bytes = item["weight"]["int8"]["scales"]["bytes"].as_array_mut().expect("bytes");
            bytes[4..8].clone_from_slice(&[json!(255), json!(255), json!(255), json!(127)]);
        });
    }

    #[test]
    fn a_negative_scale() {
        check("the INT8 scale of output channel 0 is -", |item| {
            let bytes = item["weight"]["int8"]["scales"]["bytes"].as_array_mut().expect("bytes");
            bytes[3] = json!(0xbc);
        });
    }

    #[test]
    fn scales_of_another_type() {
        check("INT8 scales are not f32", |item| {
            let scales = &mut item["weight"]["int8"]["scales"];
            scales["dtype"] = json!("I32");
        });
    }

    #[test]
    fn integers_without_scales() {
        check("missing field `int8`", |item| {
            item["weight"].as_object_mut().expect("an object").remove("int8");
        });
    }

    #[test]
    fn floats_that_are_none() {
        check("a float parameter can't hold I32 values", |item| {
            item["bias"]["param"]["dtype"] = json!("I32");
        });
        check("bytes are no F32 values of shape [2]", |item| {
            item["bias"]["param"]["shape"] = json!([2]);
        });
    }

    #[test]
    fn an_id_that_is_none() {
        for id in ["!", "", "00000000000000000000000000000000", "zzzz-zzzz"] {
            if id.is_empty() {
                continue; // Burn reads it as zero
            }
            check("is no parameter id", |item| item["weight"]["id"] = json!(id));
            check("is no parameter id", |item| item["bias"]["id"] = json!(id));
        }
    }

    /// Cut anywhere, a file is an error. With any byte changed it may load or not, but without a panic.
    #[test]
    fn truncated_and_damaged_files() {
        type Layers = Vec<Linear<B>>; // ours alone: Burn's own records panic on a damaged id
        let device = Default::default();
        let layers: Layers = vec![burns_linear(5, 4, true, 1).into(), burns_linear(4, 3, false, 2).into()];
        let bytes = mpk(layers.quantize(&Int8Config::new()).expect("float layers").0);
        let recorder = Mpk::<FullPrecisionSettings>::default();
        let load = |bytes| -> Result<<Layers as Module<B>>::Record, _> { recorder.load(bytes, &device) };
        for length in 0..bytes.len() {
            assert!(load(bytes[..length].to_vec()).is_err(), "cut to {length} of {}", bytes.len());
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x55, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                let _ = load(damaged);
            }
        }
    }

    /// A record of another model is an error that names what is missing.
    #[test]
    fn another_model() {
        let layer: Linear<B> = burns_linear(4, 3, true, 1).into();
        let error = load_mpk(Net::<B>::fresh(), mpk(layer)).expect_err("another model");
        assert!(error.to_string().contains("missing field `input`"), "{error}");
    }

    /// Burn's own model does not take the integers for its weights.
    #[test]
    fn an_int8_model_into_burns_own() {
        let error =
            load_mpk(StockNet::<B>::new(1), mpk(quantized(&Int8Config::new()))).expect_err("integers");
        assert!(error.to_string().contains("missing field `param`"), "{error}");
    }

    /// The file formats of all versions stay readable.
    #[test]
    fn files_of_every_version() {
        let device = Default::default();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/");
        let mpk = NamedMpkFileRecorder::<FullPrecisionSettings>::default();
        let bin = BinFileRecorder::<FullPrecisionSettings>::default();
        let model = quantized(&Int8Config::new());
        for version in 1..=RECORD_VERSION {
            let loaded = Net::<B>::fresh().load_file(format!("{folder}v{version}.mpk"), &mpk, &device);
            assert_eq!(output(&loaded.expect("a file of this version")), output(&model));
            let loaded = Net::<B>::fresh().load_file(format!("{folder}v{version}.bin"), &bin, &device);
            assert_eq!(output(&loaded.expect("a file of this version")), output(&model));
        }
    }
}
