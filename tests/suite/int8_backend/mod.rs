//! `Int8<B>`: Burn's own layers, quantized where they stand.

mod every_backend;
mod layers;
mod modules;
mod observed;
mod products;
mod put_off;
mod saving;
mod training;
mod views;

use burn::backend::NdArray;
use burn_int8::Int8;

type B = Int8<NdArray>;
