//! Every kind of layer in files: Burn's own while float, exact when INT8, an error where they are malformed.

use burn::backend::NdArray;
use burn::module::{Module, Param};
use burn::nn;
use burn::prelude::*;
use burn::record::{
    BinBytesRecorder, BinFileRecorder, BinGzFileRecorder, FileRecorder, FullPrecisionSettings,
    HalfPrecisionSettings, JsonGzFileRecorder, NamedMpkBytesRecorder, NamedMpkFileRecorder,
    NamedMpkGzFileRecorder, PrettyJsonFileRecorder, Recorder,
};
use burn_int8::LayerRecord;
use burn_int8::nn::{DropIn, FloatLayer, QLayer};
use burn_int8::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::conv_case::{Case, conv, conv_transpose2d, conv1d, conv2d, one_of_each, transposed};
use crate::support::models::{burns_embedding, burns_linear, floats, tensor};
use crate::with_conv;

type B = NdArray;
type Full = FullPrecisionSettings;

fn quantized<L: FloatLayer<Backend = B>>(layer: L, scheme: LayerScheme) -> QLayer<L> {
    QLayer::from_float(&layer, &scheme).expect("finite weights")
}

/// Everything that must hold for one kind in one format; `fresh` is the layer as a program makes it.
fn check_files<R: FileRecorder<B>, L: FloatLayer<Backend = B>>(burns: &L, fresh: &L) {
    let (folder, device, recorder) = (tempdir().expect("a folder"), Default::default(), R::default());
    let path = |name: &str| folder.path().join(name);
    let bytes = |name: &str| {
        std::fs::read(path(name).with_extension(R::file_extension())).expect("it was just saved")
    };
    let save = |layer: DropIn<L>, name: &str| {
        layer.save_file(path(name), &recorder).expect("a folder to write to");
        bytes(name)
    };
    let load = |into: DropIn<L>, name: &str| {
        into.load_file(path(name), &recorder, &device).expect("a file of the same kind")
    };
    let kind = (L::KIND, std::any::type_name::<R>());

    // Float: the same bytes as Burn's own, and each loads the other's.
    burns.clone().save_file(path("stock"), &recorder).expect("a folder to write to");
    assert!(bytes("stock") == save(burns.clone().into(), "ours"), "{kind:?}: not Burn's bytes");
    let ours = load(fresh.clone().into(), "stock");
    assert!(!ours.is_int8() && save(ours, "again") == bytes("stock"), "{kind:?}: ours from Burn's");
    let stock = fresh.clone().load_file(path("ours"), &recorder, &device).expect("our file");
    assert!(save(stock.into(), "again") == bytes("stock"), "{kind:?}: Burn's from ours");

    // INT8: loads into either form, and either form loads into it.
    for range in [QuantRange::Symmetric, QuantRange::Full] {
        for activations in [QuantMode::Dynamic, QuantMode::WeightOnly] {
            let scheme = LayerScheme::keras().with_range(range).with_mode(activations);
            let int8 = quantized(burns.clone(), scheme);
            let saved = save(DropIn::Int8(int8.clone()), "int8");
            let targets = [DropIn::from(fresh.clone()), DropIn::Int8(quantized(fresh.clone(), scheme))];
            for target in targets {
                let loaded = load(target, "int8");
                let layer = loaded.as_int8().expect("INT8");
                assert_eq!((layer.integers(), layer.scales()), (int8.integers(), int8.scales()), "{kind:?}");
                assert_eq!(layer.scheme(), scheme);
                assert_eq!(format!("{layer}"), format!("{int8}"));
                assert!(save(loaded, "again") == saved, "{kind:?}");
            }
            // An INT8-only module reads the same file.
            let loaded = quantized(fresh.clone(), scheme).load_file(path("int8"), &recorder, &device);
            assert_eq!(loaded.expect("its own file").integers(), int8.integers());
            let float = load(DropIn::Int8(int8), "stock");
            assert_eq!(format!("{float}"), format!("{}", DropIn::from(burns.clone())));
            assert!(save(float, "again") == bytes("stock"), "{kind:?}: float into INT8");
        }
    }
}

fn check_all_formats<L: FloatLayer<Backend = B>>(burns: L, fresh: L) {
    check_files::<NamedMpkFileRecorder<Full>, L>(&burns, &fresh);
    check_files::<NamedMpkGzFileRecorder<Full>, L>(&burns, &fresh);
    check_files::<BinFileRecorder<Full>, L>(&burns, &fresh);
    check_files::<BinGzFileRecorder<Full>, L>(&burns, &fresh);
    check_files::<PrettyJsonFileRecorder<Full>, L>(&burns, &fresh);
    check_files::<JsonGzFileRecorder<Full>, L>(&burns, &fresh);
    // Values between -1 and 1 in whole steps of 1/1024 are the same in half precision.
    let steps = |layer: &L| {
        struct Steps;
        impl burn::module::ModuleMapper<B> for Steps {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
                param.map(|tensor| (tensor * 1024.0).round() / 1024.0)
            }
        }
        layer.clone().map(&mut Steps)
    };
    check_files::<NamedMpkFileRecorder<HalfPrecisionSettings>, L>(&steps(&burns), &fresh);
    check_files::<BinFileRecorder<HalfPrecisionSettings>, L>(&steps(&burns), &fresh);
}

#[test]
fn files_of_every_kind() {
    for case in one_of_each() {
        with_conv!(B, case, layer, RANK => {
            let fresh = layer.clone();
            layer.weight = Param::from_tensor(tensor(layer.weight.dims(), 7));
            layer.bias = layer.bias.map(|_| Param::from_tensor(tensor([case.channels[1]], 8)));
            check_all_formats(layer, fresh);
        });
    }
    check_all_formats(burns_embedding(9, 5, 7), burns_embedding(9, 5, 8));
    check_all_formats(burns_linear(9, 5, true, 7), burns_linear(9, 5, true, 8));
}

/// The reload computes the same, bit for bit.
#[test]
fn a_reload_computes_the_same() {
    let recorder = BinBytesRecorder::<Full>::default();
    let device = Default::default();
    for case in one_of_each() {
        with_conv!(B, case, layer, RANK => {
            let int8 = quantized(layer.clone(), LayerScheme::default());
            let bytes = Recorder::<B>::record(&recorder, int8.clone().into_record(), ()).expect("in memory");
            let loaded = DropIn::from(layer).load_record(recorder.load(bytes, &device).expect("its own bytes"));
            let x = tensor::<B, RANK>(case.shape(2), 5);
            assert_eq!(floats(loaded.forward(x.clone())), floats(int8.forward(x)));
        });
    }
}

/// Loads the record of one layer into another.
fn load<L: FloatLayer<Backend = B>>(into: DropIn<L>, from: DropIn<L>) -> DropIn<L> {
    let recorder = NamedMpkBytesRecorder::<Full>::default();
    let bytes = Recorder::<B>::record(&recorder, from.into_record(), ()).expect("in memory");
    into.load_record(recorder.load(bytes, &Default::default()).expect("its own bytes"))
}

mod misfits {
    //! Records that do not fit.

    use super::*;

    fn layer(channels: [usize; 2], kernel: usize) -> nn::conv::Conv2d<B> {
        conv2d(&conv(2, channels, [1, kernel, kernel], [1, 8, 8]))
    }

    fn up(groups: usize) -> nn::conv::ConvTranspose2d<B> {
        let channels = [4, 3 * groups];
        conv_transpose2d(&Case { groups, bias: false, ..transposed(2, channels, [1, 2, 2], [1, 4, 4]) })
    }

    fn int8<L: FloatLayer<Backend = B>>(layer: L) -> DropIn<L> {
        DropIn::Int8(quantized(layer, LayerScheme::default()))
    }

    #[test]
    #[should_panic(
        expected = "Conv2d: the record holds [4, 3, 3, 3] with a bias of 4, but the layer is [4, 3, 2, 2] with a bias of 4"
    )]
    fn float_into_float() {
        load(layer([3, 4], 2).into(), layer([3, 4], 3).into());
    }

    #[test]
    #[should_panic(
        expected = "Conv2d: the record holds [4, 3, 3, 3] with a bias of 4, but the layer is [3, 4, 3, 3] with a bias of 3"
    )]
    fn int8_into_float() {
        load(layer([4, 3], 3).into(), int8(layer([3, 4], 3)));
    }

    #[test]
    #[should_panic(
        expected = "Embedding: the record holds [5, 9] without bias, but the layer is [9, 5] without bias"
    )]
    fn float_into_int8() {
        load(int8(burns_embedding(9, 5, 1)), burns_embedding(5, 9, 1).into());
    }

    #[test]
    #[should_panic(
        expected = "ConvTranspose2d: the record holds [4, 3, 2, 2] in 2 groups without bias, but the layer is [4, 3, 2, 2] without bias"
    )]
    fn transposed_groups_into_none() {
        load(up(1).into(), int8(up(2)));
    }

    fn grouped(groups: usize) -> nn::conv::Conv1d<B> {
        conv1d(&Case { groups, bias: false, ..conv(1, [2 * groups, 4], [1, 1, 3], [1, 1, 9]) })
    }

    #[test]
    #[should_panic(
        expected = "Conv1d: the record holds [4, 2, 3] in 2 groups without bias, but the layer is [4, 2, 3] without bias"
    )]
    fn groups_into_none() {
        load(grouped(1).into(), int8(grouped(2)));
    }

    #[test]
    #[should_panic(
        expected = "Conv1d: the record holds [4, 2, 3] without bias, but the layer is [4, 2, 3] in 2 groups without bias"
    )]
    fn no_groups_into_groups() {
        load(int8(grouped(2)), int8(grouped(1)));
    }

    /// The record of one kind of layer, read for another: an error in formats with and without field names.
    fn other_kind<From: FloatLayer<Backend = B>, Into: FloatLayer<Backend = B>>(from: From, _: Into) {
        let (folder, device) = (tempdir().expect("a folder"), Default::default());
        let expected = format!("the record holds an INT8 {}, but the layer is {}", From::KIND, Into::KIND);
        fn error<R: FileRecorder<B>, L: FloatLayer<Backend = B>>(
            path: std::path::PathBuf,
            device: &burn::tensor::Device<B>,
        ) -> String {
            let record = Recorder::<B>::load::<LayerRecord<L>>(&R::default(), path, device);
            record.err().expect("another kind").to_string()
        }
        let (mpk, bin) = (folder.path().join("layer.mpk"), folder.path().join("layer.bin"));
        let from = int8(from);
        from.clone().save_file(&mpk, &NamedMpkFileRecorder::<Full>::default()).expect("a folder to write to");
        from.save_file(&bin, &BinFileRecorder::<Full>::default()).expect("a folder to write to");
        for error in [
            error::<NamedMpkFileRecorder<Full>, Into>(mpk, &device),
            error::<BinFileRecorder<Full>, Into>(bin, &device),
        ] {
            assert!(error.contains(&expected), "`{expected}` is not in `{error}`");
        }
    }

    #[test]
    fn another_kind() {
        let (plain, up) = (
            conv1d::<B>(&conv(1, [4, 4], [1, 1, 3], [1, 1, 9])),
            crate::support::conv_case::conv_transpose1d::<B>(&transposed(1, [4, 4], [1, 1, 3], [1, 1, 9])),
        );
        other_kind(plain.clone(), up.clone());
        other_kind(up, plain);
        other_kind(burns_linear::<B>(4, 4, true, 1), burns_embedding::<B>(4, 4, 1));
        other_kind(burns_embedding::<B>(4, 4, 1), burns_linear::<B>(4, 4, true, 1));
    }

    #[test]
    #[should_panic(expected = "load it into `burn_int8::nn::Conv2d`")]
    fn float_into_an_int8_only_layer() {
        let record = DropIn::from(layer([3, 4], 3)).into_record();
        let _ = quantized(layer([3, 4], 3), LayerScheme::default()).load_record(record);
    }
}

mod malformed {
    //! Malformed files: an error, never a panic, never another layer.

    use super::*;

    /// The error of loading the JSON record of an INT8 layer after `change`.
    fn error_after<L: FloatLayer<Backend = B>>(layer: L, change: impl FnOnce(&mut Value)) -> String {
        let (folder, device) = (tempdir().expect("a folder"), Default::default());
        let recorder = PrettyJsonFileRecorder::<Full>::default();
        let path = folder.path().join("layer.json");
        let int8 = quantized(layer.clone(), LayerScheme::default());
        int8.save_file(&path, &recorder).expect("a folder to write to");
        let text = std::fs::read_to_string(&path).expect("it was just saved");
        let mut json: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut json["item"]);
        std::fs::write(&path, json.to_string()).expect("a folder to write to");
        match DropIn::from(layer).load_file(&path, &recorder, &device) {
            Ok(layer) => panic!("it loaded as {layer}"),
            Err(error) => error.to_string(),
        }
    }

    /// Leaves the first `count` scales.
    fn scales(count: usize) -> impl FnOnce(&mut Value) {
        move |item| {
            let scales = &mut item["weight"]["int8"]["scales"];
            scales["shape"] = json!([count]);
            scales["bytes"].as_array_mut().expect("bytes").truncate(4 * count);
        }
    }

    fn shape(shape: impl serde::Serialize) -> impl FnOnce(&mut Value) {
        move |item| item["weight"]["integers"]["shape"] = json!(shape)
    }

    fn check(error: String, expected: &str) {
        assert!(error.contains(expected), "`{expected}` is not in `{error}`");
    }

    #[test]
    fn of_a_table() {
        let table = || burns_embedding::<B>(6, 4, 1);
        check(error_after(table(), scales(4)), "4 INT8 scales for 6 output channels");
        check(error_after(table(), shape([4, 6])), "6 INT8 scales for 4 output channels");
        check(error_after(table(), shape([24])), "a parameter of rank 2 can't have the shape [24]");
    }

    #[test]
    fn of_a_convolution() {
        let layer = || conv1d::<B>(&conv(1, [3, 4], [1, 1, 2], [1, 1, 9]));
        check(error_after(layer(), scales(3)), "3 INT8 scales for 4 output channels");
        check(error_after(layer(), shape([3, 4, 2])), "4 INT8 scales for 3 output channels");
        check(error_after(layer(), shape([4, 6])), "a parameter of rank 3 can't have the shape [4, 6]");
        check(error_after(layer(), shape([4, 3, 3])), "24 bytes are no I8 values of shape [4, 3, 3]");
    }

    #[test]
    fn of_a_transposed_convolution() {
        let case = Case { groups: 2, ..transposed(2, [4, 6], [1, 2, 1], [1, 3, 3]) };
        let layer = || conv_transpose2d::<B>(&case);
        check(error_after(layer(), scales(5)), "5 INT8 scales for 6 output channels");
        check(error_after(layer(), scales(0)), "0 INT8 scales for 6 output channels");
        check(error_after(layer(), shape([3, 4, 2, 1])), "6 INT8 scales for 8 output channels");
        check(error_after(layer(), shape([1, 3, 4, 2])), "6 INT8 scales are 2 groups of 1 inputs");
    }

    /// Cut anywhere, a file is an error. With any byte changed it may load or not, but without a panic.
    fn damage<L: FloatLayer<Backend = B>>(layer: L) {
        let (folder, device) = (tempdir().expect("a folder"), Default::default());
        let int8 = quantized(layer, LayerScheme::default());
        let mpk = NamedMpkBytesRecorder::<Full>::default();
        let bytes = Recorder::<B>::record(&mpk, int8.clone().into_record(), ()).expect("in memory");
        let load =
            |bytes: &[u8]| Recorder::<B>::load::<LayerRecord<L>>(&mpk, bytes.to_vec(), &device).is_ok();
        for at in 0..bytes.len() {
            assert!(!load(&bytes[..at]), "cut to {at} of {}", bytes.len());
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                load_into_a_layer(damaged, &mpk, &int8);
            }
            // An array that claims to be longer than any memory.
            let mut damaged = bytes.clone();
            damaged.splice(at..=at, [0xdd, 0xff, 0xff, 0xff, 0xff]);
            load_into_a_layer(damaged, &mpk, &int8);
        }
        // From a file: Burn's recorder of bytes panics on what it can't read.
        let (bin, path) = (BinFileRecorder::<Full>::default(), folder.path().join("layer.bin"));
        int8.save_file(&path, &bin).expect("a folder to write to");
        let bytes = std::fs::read(&path).expect("it was just saved");
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).expect("a folder to write to");
            let loaded = Recorder::<B>::load::<LayerRecord<L>>(&bin, path.clone(), &device);
            assert!(loaded.is_err(), "cut to {length} of {}", bytes.len());
        }
    }

    /// A damaged file is an error, loads with other numbers, or says that it is of other sizes: nothing else panics.
    fn load_into_a_layer<L: FloatLayer<Backend = B>>(
        bytes: Vec<u8>,
        recorder: &NamedMpkBytesRecorder<Full>,
        layer: &QLayer<L>,
    ) {
        let target = DropIn::Int8(layer.clone());
        let load = std::panic::AssertUnwindSafe(|| {
            let record = Recorder::<B>::load::<LayerRecord<L>>(recorder, bytes, &Default::default());
            record.map(|record| target.load_record(record)).is_ok()
        });
        if let Err(panic) = std::panic::catch_unwind(load) {
            let text = panic.downcast_ref::<String>().map_or("", String::as_str);
            assert!(text.contains("the record holds"), "{text}");
        }
    }

    #[test]
    fn truncated_and_damaged_files() {
        damage(burns_linear::<B>(3, 2, true, 1));
        let case = Case { groups: 2, ..transposed(2, [2, 4], [1, 2, 1], [1, 3, 3]) };
        damage(conv_transpose2d::<B>(&case));
        damage(conv1d::<B>(&conv(1, [2, 3], [1, 1, 2], [1, 1, 9])));
        damage(burns_embedding::<B>(3, 2, 1));
    }
}
