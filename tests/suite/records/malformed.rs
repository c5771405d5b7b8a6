//! Malformed files: an error, never a panic, never wrong numbers.

use super::*;
use serde_json::{Value, json};

/// Loads a JSON record of an INT8 layer after `change`.
fn saved_json(change: impl FnOnce(&mut Value)) -> Result<Linear<B>, String> {
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
    target.load_file(&path, &recorder, &device).map_err(|error| error.to_string())
}

fn check(expected: &str, change: impl FnOnce(&mut Value)) {
    let error = saved_json(change).expect_err("it must not load");
    assert!(error.contains(expected), "`{expected}` is not in `{error}`");
}

#[test]
fn another_version() {
    for version in [0, 9] {
        let expected = format!("INT8 record version {version}, but this burn-int8 reads versions 1 to 5");
        check(&expected, |item| item["weight"]["int8"]["version"] = json!(version));
    }
}

#[test]
fn a_transform_that_does_not_suit() {
    for (block, inputs) in [(0, 4), (3, 4), (8, 4), (512, 4)] {
        check(&format!("{inputs} inputs can't be rotated in blocks of {block}"), |item| {
            item["weight"]["int8"]["rotation"] = json!(block);
        });
    }
    check("3 smoothing shifts for 4 inputs", |item| item["weight"]["int8"]["shifts"] = json!([1, 2, 3]));
    check("a smoothing shift of 17 bits", |item| item["weight"]["int8"]["shifts"] = json!([0, 0, 17, 0]));
    check("invalid value: integer `300`", |item| item["weight"]["int8"]["smoothing"] = json!(300));
    for percent in [101, 255] {
        check(&format!("a smoothing is of at most 100 %, not {percent} %"), |item| {
            item["weight"]["int8"]["smoothing"] = json!(percent);
        });
    }
    check("unknown variant `Up`", |item| item["weight"]["int8"]["rounding"] = json!("Up"));
    check("unknown variant `Wide`", |item| item["weight"]["int8"]["codes"] = json!("Wide"));
    check("missing field `codes`", |item| {
        item["weight"]["int8"].as_object_mut().expect("an INT8 part").remove("codes");
    });
    check("missing field `rotation`", |item| {
        item["weight"]["int8"].as_object_mut().expect("an INT8 part").remove("rotation");
    });
    let suits = saved_json(|item| {
        item["weight"]["int8"]["rotation"] = json!(4);
        item["weight"]["int8"]["shifts"] = json!([0, 1, 16, 2]);
        item["weight"]["int8"]["smoothing"] = json!(50);
    });
    let scheme = suits.expect("a transform that suits").as_int8().expect("INT8").scheme();
    assert_eq!((scheme.rotation, scheme.smoothing), (Rotation::Block(4), Smoothing::Percent(50)));
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
    for id in ["!", "00000000000000000000000000000000", "zzzz-zzzz"] {
        check("is no parameter id", |item| item["weight"]["id"] = json!(id));
        check("is no parameter id", |item| item["bias"]["id"] = json!(id));
    }
}

/// The empty id is one: Burn reads it as zero.
#[test]
fn an_id_that_is_empty() {
    let item = saved_json(|item| item["weight"]["id"] = json!(""));
    assert!(item.is_ok(), "{item:?}");
}

#[test]
fn noise_that_is_no_number() {
    check("invalid type: string", |item| item["weight"]["int8"]["sqnr_db"] = json!("NaN"));
    // JSON has no infinity, MessagePack has: 0xca and four bytes.
    let layer: Linear<B> = burns_linear(4, 3, true, 1).into();
    let (layer, _) = layer.quantize(&Int8Config::new()).expect("a float layer");
    let bytes = mpk(layer);
    let key = b"sqnr_db\xca";
    let at = bytes.windows(key.len()).position(|window| window == key).expect("its noise") + key.len();
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let error = load_mpk::<Linear<B>>(LinearConfig::new(4, 3).init(&Default::default()), bytes);
        let error = error.expect_err("no number").to_string();
        assert!(error.contains("noise ratio of"), "{error}");
    }
}

/// A field that is not there is not a field that is none.
#[test]
fn missing_fields() {
    for field in ["weight", "bias"] {
        check(&format!("missing field `{field}`"), |item| {
            item.as_object_mut().expect("an object").remove(field);
        });
    }
    check("an INT8 Linear has no field `bjas`", |item| item["bjas"] = json!(null));
}

#[test]
fn another_kind() {
    check("the record holds an INT8 Embedding, but the layer is Linear", |item| {
        item["weight"]["int8"]["kind"] = json!("Embedding");
    });
    check("4 output channels can't be parted into 3 groups", |item| {
        item["weight"]["int8"]["groups"] = json!(3);
    });
    check("missing field `kind`", |item| {
        item["weight"]["int8"].as_object_mut().expect("an object").remove("kind");
    });
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
    let error = load_mpk(StockNet::<B>::new(1), mpk(quantized(&Int8Config::new()))).expect_err("integers");
    assert!(error.to_string().contains("missing field `param`"), "{error}");
}

/// The file formats of all versions stay readable, and answer as when they were written: before version 4 there was one scheme, and
/// before version 5 all integers of inputs had a sign.
#[test]
fn files_of_every_version() {
    let device = Default::default();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records/");
    let mpk = NamedMpkFileRecorder::<FullPrecisionSettings>::default();
    let bin = BinFileRecorder::<FullPrecisionSettings>::default();
    for version in 1..=RECORD_VERSION {
        let model = quantized(&match version {
            ..4 => Int8Config::keras(),
            4 => Int8Config::new().with_codes(InputCodes::Signed),
            _ => Int8Config::new(),
        });
        let loaded = Net::<B>::fresh().load_file(format!("{folder}v{version}.mpk"), &mpk, &device);
        assert_eq!(output(&loaded.expect("a file of this version")), output(&model));
        let loaded = Net::<B>::fresh().load_file(format!("{folder}v{version}.bin"), &bin, &device);
        assert_eq!(output(&loaded.expect("a file of this version")), output(&model));
    }
}
