//! The weight of one of Burn's own layers in INT8, and the ways in which tensor operations see it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use burn::prelude::*;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, TensorData};

use crate::config::LayerScheme;
use crate::nn::weight::Int8Weight;
use crate::ops::Weights;
use burn_int8_kernels::{ConvSpec, QTensor, WeightLayout};

/// The weight of a layer, which a parameter and all its clones share.
#[derive(Debug)]
pub(super) struct StockWeight<B: Backend> {
    /// The kind of layer, such as `Linear`.
    pub(super) kind: &'static str,
    /// The float type that it had.
    pub(super) dtype: DType,
    /// The scheme that was asked for; what it leaves open depends on how the layer is called.
    asked: LayerScheme,
    /// The integers, laid out for each way in which a convolution has been called; at least one.
    layouts: RwLock<Layouts<B>>,
    /// The number of times that an operation has read it as floats.
    float_reads: AtomicUsize,
}

#[derive(Debug)]
struct Layouts<B: Backend> {
    all: Vec<Int8Weight<B>>,
    /// True once the first was computed with. Until then it is laid out for a guess: a parameter does not know its strides.
    is_called: bool,
}

impl<B: Backend> StockWeight<B> {
    pub(super) fn new(kind: &'static str, dtype: DType, asked: LayerScheme, int8: Int8Weight<B>) -> Self {
        let layouts = RwLock::new(Layouts { all: vec![int8], is_called: false });
        Self { kind, dtype, asked, layouts, float_reads: AtomicUsize::new(0) }
    }

    fn layouts(&self) -> RwLockReadGuard<'_, Layouts<B>> {
        self.layouts.read().unwrap_or_else(|e| e.into_inner())
    }

    /// Reads the weight, or computes with it, in its first layout.
    pub(super) fn read<R>(&self, read: impl FnOnce(&Int8Weight<B>) -> R) -> R {
        read(&self.layouts().all[0])
    }

    /// Computes with the weight, laid out for this convolution.
    pub(super) fn compute<R>(&self, spec: ConvSpec, compute: impl FnOnce(&Int8Weight<B>) -> R) -> R {
        compute(&self.laid_out(WeightLayout::Conv(spec)))
    }

    /// The weight in a layout of its own; clones share the numbers.
    fn laid_out(&self, layout: WeightLayout) -> Int8Weight<B> {
        let find = |layouts: &Layouts<B>| {
            let mut all = layouts.all.iter();
            all.find(|weight| layouts.is_called && weight.weights.layout() == layout).cloned()
        };
        if let Some(weight) = find(&self.layouts()) {
            return weight;
        }
        let mut layouts = self.layouts.write().unwrap_or_else(|e| e.into_inner());
        if let Some(weight) = find(&layouts) {
            return weight; // another thread was faster
        }
        let weight = relaid(&layouts.all[0], layout, self.asked);
        if !layouts.is_called {
            layouts.all.clear();
        }
        layouts.is_called = true;
        layouts.all.push(weight.clone());
        weight
    }

    /// Says whether both hold the same integers in the same layout.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.read(|one| other.read(|other| one.scheme == other.scheme && one.weights.equals(&other.weights)))
    }

    pub(super) fn layout(&self) -> WeightLayout {
        self.read(|int8| int8.weights.layout())
    }

    pub(super) fn device(&self) -> B::Device {
        self.read(|int8| int8.device.clone())
    }

    /// Says whether the groups of a convolution are known: those of a regular one are once it was called.
    pub(super) fn knows_groups(&self) -> bool {
        let layouts = self.layouts();
        match layouts.all[0].weights.layout() {
            WeightLayout::Conv(spec) => spec.transposed || layouts.is_called,
            _ => true,
        }
    }

    /// The bytes of all layouts in memory, and a number that tells this copy from others.
    pub(super) fn memory(&self) -> (usize, usize) {
        let layouts = self.layouts();
        let bytes = layouts.all.iter().map(|weight| weight.weights.memory().0).sum();
        (bytes, layouts.all[0].weights.memory().1)
    }

    pub(super) fn float_reads(&self) -> usize {
        self.float_reads.load(Ordering::Relaxed)
    }

    fn to_device(&self, device: &B::Device) -> Self {
        let moved = self.read(|int8| int8.to_device(device));
        let layouts = self.layouts();
        let moved = RwLock::new(Layouts { all: vec![moved], is_called: layouts.is_called });
        Self { layouts: moved, float_reads: AtomicUsize::new(self.float_reads()), ..*self }
    }
}

/// The same integers in another layout.
fn relaid<B: Backend>(int8: &Int8Weight<B>, layout: WeightLayout, asked: LayerScheme) -> Int8Weight<B> {
    if int8.weights.layout() == layout {
        return int8.clone();
    }
    let scales = int8.weights.scales();
    // A transposed convolution whose groups nobody knew has a scale for the same output of all its groups.
    let all = (0..layout.channels()).map(|channel| scales[channel % scales.len()]).collect();
    let tensor =
        QTensor::new(int8.weights.to_integers(), all, layout).expect("the same weights in another layout");
    let weights = Weights::from_qtensor(&tensor, &int8.device);
    Int8Weight { weights, scheme: asked.for_layer(&layout), device: int8.device.clone(), ..*int8 }
}

/// A weight as a tensor: with its own axes or the last two swapped, behind leading axes of size one.
#[derive(Clone, Debug)]
pub(super) struct WeightView<B: Backend> {
    pub(super) weight: Arc<StockWeight<B>>,
    pub(super) leading: usize,
    pub(super) swapped: bool,
}

impl<B: Backend> WeightView<B> {
    pub(super) fn new(weight: StockWeight<B>) -> Self {
        Self { weight: Arc::new(weight), leading: 0, swapped: false }
    }

    pub(super) fn shape(&self) -> Vec<usize> {
        [vec![1; self.leading], self.own_shape()].concat()
    }

    /// The shape without the leading axes.
    fn own_shape(&self) -> Vec<usize> {
        let mut shape = self.weight.layout().shape();
        if self.swapped {
            shape.reverse();
        }
        shape
    }

    /// The view with two axes exchanged, if it is one of an INT8 weight still.
    pub(super) fn swapped(&self, one: usize, other: usize) -> Option<Self> {
        let own = self.own_shape().len();
        let [first, last] = [one.min(other), one.max(other)];
        if first == last {
            return Some(self.clone());
        }
        let are_last = own == 2 && first == self.leading && last == self.leading + 1;
        are_last.then(|| Self { swapped: !self.swapped, ..self.clone() })
    }

    /// The view with its axes in this order, if it is one of an INT8 weight still.
    pub(super) fn permuted(&self, axes: &[usize]) -> Option<Self> {
        let moved: Vec<_> = (0..axes.len()).filter(|axis| axes[*axis] != *axis).collect();
        match moved[..] {
            [] => Some(self.clone()),
            [one, other] => self.swapped(one, other),
            _ => None,
        }
    }

    /// The view with other leading axes, if only these change.
    pub(super) fn reshaped(&self, shape: &Shape) -> Option<Self> {
        let own = self.own_shape();
        let (leading, rest) = shape.as_slice().split_at_checked(shape.num_dims().checked_sub(own.len())?)?;
        let only_leading = rest == own && leading.iter().all(|size| *size == 1);
        only_leading.then(|| Self { leading: leading.len(), ..self.clone() })
    }

    /// The inputs and outputs of products `x · self`, if integers compute them: scales must be those of the outputs.
    pub(super) fn as_product(&self) -> Option<[usize; 2]> {
        match (self.weight.layout(), self.swapped) {
            (WeightLayout::Linear([inputs, outputs]), false)
            | (WeightLayout::Table([outputs, inputs]), true) => Some([inputs, outputs]),
            _ => None,
        }
    }

    /// Says whether it is a table as look-ups read it.
    pub(super) fn is_table(&self) -> bool {
        matches!(self.weight.layout(), WeightLayout::Table(_)) && !self.swapped && self.leading == 0
    }

    pub(super) fn to_device(&self, device: &B::Device) -> Self {
        Self { weight: Arc::new(self.weight.to_device(device)), ..*self }
    }

    /// The floats that it stands for, computed each time: a copy that stayed would take the memory which INT8 saves.
    pub(super) fn dequantize(&self) -> FloatTensor<B> {
        self.weight.float_reads.fetch_add(1, Ordering::Relaxed);
        let (values, device) = self.weight.read(|int8| (int8.weights.to_floats(), int8.device.clone()));
        let data = TensorData::new(values, self.weight.layout().shape()).convert_dtype(self.weight.dtype);
        let tensor = B::float_from_data(data, &device);
        let tensor = if self.swapped { B::float_swap_dims(tensor, 0, 1) } else { tensor };
        if self.leading == 0 { tensor } else { B::float_reshape(tensor, self.shape().into()) }
    }
}
