use std::io::Write;
use std::path::{Path, PathBuf};

use burn::backend::NdArray;
use burn::prelude::*;
use burn::tensor::Distribution;
use burn_int8::prelude::*;
use burn_store::{BurnToPyTorchAdapter, ModuleSnapshot, SafetensorsStore};
use image::{ImageFormat, Rgb, RgbImage};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::compare::{agreement, sqnr};
use crate::error::{BelowFloor, VisionError};
use crate::load::{WEIGHTS, load};
use crate::measure::scores;
use crate::model::{CLASSES, EfficientNet, SIDE};
use crate::photos::{self, PHOTOS};
use crate::schemes;

type Cpu = NdArray<f32>;

/// Float sums in another order, through fifty layers, on scores of up to 10: the largest difference that was seen is 1.1e-5.
const ANOTHER_ORDER: f32 = 1e-4;

/// The answers of a random model are its last biases, whatever came before: those of a folded one are compared with the original's.
#[test]
fn a_folded_model_has_a_bias_for_each_norm() {
    let model = EfficientNet::<Cpu>::new(&Default::default());
    let folded = model.clone().fold().unwrap();
    // A norm has four numbers for a channel.
    assert_eq!(model.num_params() - folded.num_params(), 3 * 21008);
    assert_eq!(folded.num_params(), 4631000);
    let small = Tensor::random([1, 3, 32, 32], Distribution::Uniform(-1.0, 1.0), &Default::default());
    assert_eq!(folded.forward(small).dims(), [1, CLASSES]);
}

#[test]
fn what_is_asked_for_is_what_layers_become() {
    let model = EfficientNet::<Cpu>::new(&Default::default()).fold().unwrap();
    let [float, weight] = [["classifier"], ["blocks.*.depthwise"]].map(|patterns| patterns.map(String::from));
    let model = schemes::asked(Int8Config::keras(), &float, &weight).quantize(model).unwrap();
    for layer in model.int8_report().layers {
        let mode = match layer.path.as_str() {
            "classifier" => None,
            path if path.contains("depthwise") => Some(QuantMode::WeightOnly),
            _ => Some(QuantMode::Dynamic),
        };
        assert_eq!(layer.scheme.map(|scheme| scheme.mode), mode, "{}", layer.path);
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() {
    let model = EfficientNet::<Cpu>::new(&Default::default()).fold().unwrap();
    let nothing = ["blocks.16".to_string()];
    assert!(schemes::asked(Int8Config::new(), &nothing, &[]).quantize(model.clone()).is_err());
    assert!(schemes::asked(Int8Config::new(), &[], &nothing).quantize(model).is_err());
}

#[test]
fn agreement_counts_common_classes() {
    let float = [vec![4.0, 3.0, 2.0, 1.0], vec![0.0, 1.0, 2.0, 3.0]];
    let other = [vec![4.0, 1.0, 3.0, 0.0], vec![0.0, 1.0, 3.0, 2.0]];
    assert_eq!(agreement(&float, &other, 1), 0.5);
    assert_eq!(agreement(&float, &other, 2), 0.75);
    assert_eq!(agreement(&float, &float, 2), 1.0);
}

#[test]
fn signal_to_noise_is_in_decibels() {
    let found = sqnr(&[vec![3.0], vec![4.0]], &[vec![3.5], vec![4.0]]);
    assert!((found - 20.0).abs() < 1e-12, "{found}"); // 25 to a quarter
    assert_eq!(sqnr(&[vec![1.0]], &[vec![1.0]]), f64::INFINITY);
    assert!(sqnr(&[vec![1.0]], &[vec![f32::NAN]]).is_nan());
}

#[test]
fn a_floor_holds_or_is_an_error() {
    for scheme in schemes::compared() {
        let float = [vec![1.0, 2.0]];
        assert_eq!(scheme.check(&float, &float), Ok(()));
        for bad in [vec![2.0, 1.0], vec![f32::NAN, f32::NAN]] {
            let error = scheme.check(&float, &[bad]).expect_err("scores far from float's");
            assert!(matches!(error, BelowFloor { what: "signal to noise in dB", .. }), "{error}");
        }
        let nearly_equal = [vec![1e6, 1e6 - 1.0]];
        let error = scheme.check(&nearly_equal, &[vec![1e6 - 1.0, 1e6]]).expect_err("another first class");
        assert!(matches!(error, BelowFloor { reached: 0.0, .. }), "{error}");
    }
}

#[test]
fn a_photograph_makes_ten_inputs() {
    for (width, height) in [(1, 1), (3, 500), (640, 427)] {
        let photo = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]));
        let crops = photos::crops(&photo);
        assert_eq!(crops.len(), 10);
        assert!(crops.iter().all(|crop| crop.dimensions() == (SIDE as u32, SIDE as u32)));
        assert!(crops.iter().all(|crop| crop.pixels().all(|pixel| pixel[2] == 7)));
    }
}

#[test]
fn inputs_have_channels_first_and_are_centred() {
    let mut image = RgbImage::from_pixel(SIDE as u32, SIDE as u32, Rgb([127, 127, 127]));
    image.put_pixel(5, 9, Rgb([255, 127, 63])); // column 5, row 9
    let input = photos::inputs::<Cpu>(&[image], &Default::default());
    assert_eq!(input.dims(), [1, 3, SIDE, SIDE]);
    let pixel = input.clone().slice([0..1, 0..3, 9..10, 5..6]).into_data();
    pixel.assert_eq(&TensorData::from([[[[1_f32]], [[0.0]], [[-0.5]]]]), true);
    assert_eq!(input.abs().sum().into_scalar(), 1.5);
}

#[test]
fn photographs_are_read_by_name_and_errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(photos::read_all(folder.path()), Err(VisionError::Read { .. })));
    let photos = folder.path().join(PHOTOS);
    std::fs::create_dir(&photos).unwrap();
    assert!(matches!(photos::read_all(folder.path()), Err(VisionError::NoPhotographs { .. })));
    for (name, width) in [("b.png", 2), ("a.png", 1)] {
        RgbImage::new(width, 1).save_with_format(photos.join(name), ImageFormat::Png).unwrap();
    }
    let widths: Vec<_> = photos::read_all(folder.path()).unwrap().iter().map(RgbImage::width).collect();
    assert_eq!(widths, [1, 2]);
    std::fs::write(photos.join("c.png"), "no image").unwrap();
    let error = photos::read_all(folder.path()).expect_err("a text");
    assert!(matches!(&error, VisionError::Photograph { path, .. } if path.ends_with("c.png")), "{error}");
}

#[test]
fn a_folder_without_weights_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = load::<Cpu>(folder.path(), &Default::default()).expect_err("an empty folder");
    assert!(matches!(error, VisionError::Read { .. }), "{error}");
    assert!(error.to_string().contains("download.sh"), "{error}");
    std::fs::write(folder.path().join(WEIGHTS), "no weights").unwrap();
    let error = load::<Cpu>(folder.path(), &Default::default()).expect_err("a text");
    assert!(matches!(error, VisionError::Checkpoint { .. }), "{error}");
}

#[test]
fn a_tensor_too_many_or_too_few_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SafetensorsStore::from_bytes(None).with_to_adapter(BurnToPyTorchAdapter);
    EfficientNet::<Cpu>::new(&Default::default()).save_into(&mut store).unwrap();
    let bytes = store.get_bytes().unwrap();
    let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    let load = |tensors: &[(String, TensorView)]| {
        safetensors::serialize_to_file(tensors.to_vec(), None, &folder.path().join(WEIGHTS)).unwrap();
        load::<Cpu>(folder.path(), &Default::default())
    };
    assert!(load(&tensors).is_ok());
    tensors.push(("another.weight".into(), tensors[0].1.clone()));
    let error = load(&tensors).expect_err("a tensor too many");
    assert!(
        matches!(&error, VisionError::Unexpected { tensor, .. } if tensor == "another.weight"),
        "{error}"
    );
    tensors.truncate(tensors.len() - 2);
    let error = load(&tensors).expect_err("a tensor too few");
    assert!(matches!(error, VisionError::Checkpoint { .. }), "{error}");
}

/// The folder that download.sh fills, if there is one.
fn real() -> Option<PathBuf> {
    let folder = std::env::var_os("BURN_INT8_VISION").map(PathBuf::from);
    if folder.is_none() {
        let message = "SKIPPED: set BURN_INT8_VISION to the folder that apps/vision/download.sh prints\n";
        // Not `eprintln!`: the test harness would keep that to itself.
        std::io::stderr().write_all(message.as_bytes()).unwrap();
    }
    folder
}

/// The middle of a photograph, pixel by pixel, as reference.py takes it.
fn middle(folder: &Path, name: &str) -> RgbImage {
    let photo = photos::read(&folder.join(PHOTOS).join(name)).unwrap();
    let side = SIDE as u32;
    let [left, top] = [photo.width(), photo.height()].map(|length| (length - side) / 2);
    image::imageops::crop_imm(&photo, left, top, side, side).to_image()
}

/// The numbers in reference.safetensors are those of PyTorch, by reference.py.
#[test]
fn float_answers_as_the_original() {
    let Some(folder) = real() else { return };
    let device = Default::default();
    let model = load::<Cpu>(&folder, &device).unwrap();
    let names = ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"];
    let found = scores(&model, &names.map(|name| middle(&folder, name)), &device).concat();

    let reference = SafeTensors::deserialize(include_bytes!("reference.safetensors")).unwrap();
    let expected = reference.tensor("scores").unwrap();
    assert_eq!(expected.shape(), [names.len(), CLASSES]);
    let expected = expected.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // A NaN is the largest of all.
    let largest = differences.max_by(f32::total_cmp).unwrap();
    assert!(largest < ANOTHER_ORDER, "{largest}");
}

/// Lengths that a download can break off at.
#[test]
fn a_truncated_checkpoint_is_an_error() {
    let Some(folder) = real() else { return };
    let whole = std::fs::read(folder.join(WEIGHTS)).unwrap();
    let broken = tempfile::tempdir().unwrap();
    for length in [0, 1, 20, 1000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(broken.path().join(WEIGHTS), &whole[..length]).unwrap();
        let error = load::<Cpu>(broken.path(), &Default::default()).expect_err("a truncated file");
        assert!(
            matches!(error, VisionError::Checkpoint { .. }),
            "{length} of {} bytes: {error}",
            whole.len()
        );
    }
}
