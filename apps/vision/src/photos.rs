//! From photographs to inputs: ten squares of each, all of the size that the model takes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::prelude::*;
use image::imageops::{self, FilterType};
use image::{ImageReader, RgbImage};

use crate::error::VisionError;
use crate::model::SIDE;

/// The folder of the photographs.
pub const PHOTOS: &str = "photos";

/// A square for each input: its side in quarters of the photograph's shorter side, and its place in quarters of
/// what is left beside and above it. A part of a photograph is another photograph to the model.
const SQUARES: [[u32; 3]; 10] = [
    [4, 2, 2],
    [3, 0, 0],
    [3, 4, 0],
    [3, 0, 4],
    [3, 4, 4],
    [3, 2, 2],
    [2, 1, 1],
    [2, 3, 1],
    [2, 1, 3],
    [2, 3, 3],
];

/// Each photograph of the folder, in the order of their names.
pub fn read_all(folder: &Path) -> Result<Vec<RgbImage>, VisionError> {
    let folder = folder.join(PHOTOS);
    let mut paths = paths(&folder).map_err(|source| VisionError::Read { path: folder.clone(), source })?;
    paths.sort();
    if paths.is_empty() {
        return Err(VisionError::NoPhotographs { path: folder });
    }
    paths.iter().map(|path| read(path)).collect()
}

fn paths(folder: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

pub fn read(path: &Path) -> Result<RgbImage, VisionError> {
    let reader = ImageReader::open(path).map_err(|source| VisionError::Read { path: path.into(), source })?;
    let image = reader.decode().map_err(|source| VisionError::Photograph { path: path.into(), source })?;
    Ok(image.into_rgb8())
}

/// The inputs that are made of one photograph.
pub fn crops(photo: &RgbImage) -> Vec<RgbImage> {
    let (width, height) = photo.dimensions();
    let crop = |[side, left, top]: [u32; 3]| {
        let side = (width.min(height) * side / 4).max(1);
        let [left, top] = [(width - side) * left / 4, (height - side) * top / 4];
        let square = imageops::crop_imm(photo, left, top, side, side).to_image();
        imageops::resize(&square, SIDE as u32, SIDE as u32, FilterType::Triangle)
    };
    SQUARES.into_iter().map(crop).collect()
}

/// `[n, 3, SIDE, SIDE]`, from -1 to 1 as TensorFlow's models of this family have it.
pub fn inputs<B: Backend>(images: &[RgbImage], device: &B::Device) -> Tensor<B, 4> {
    let values: Vec<f32> = images
        .iter()
        .flat_map(|image| image.as_raw())
        .map(|&byte| (f32::from(byte) - 127.0) / 128.0)
        .collect();
    let data = TensorData::new(values, [images.len(), SIDE, SIDE, 3]);
    Tensor::from_data(data, device).permute([0, 3, 1, 2])
}
