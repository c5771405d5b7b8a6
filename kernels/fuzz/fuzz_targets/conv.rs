//! Random convolutions: sizes that no memory holds are refused, and all others are computed without a wrong sum, on a kernel of
//! the data's choice.

#![no_main]

use burn_int8_kernels::conv::{ConvGeometry, ConvInput, GeometryError, accumulators, weight_only};
use burn_int8_kernels::{ConvSpec, Kernel, PackedWeights, QTensor, QuantRange, WeightLayout};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

/// Convolutions of more values or products than this are not computed.
const LARGEST: u128 = 1 << 14;

fuzz_target!(|data: &[u8]| {
    // Data that ends too early makes no convolution.
    let _ = Case::new(&mut Unstructured::new(data)).map(|case| case.check());
});

/// One convolution and its numbers.
#[derive(Debug)]
struct Case<'a> {
    spec: ConvSpec,
    input: [usize; 3],
    padding: [[usize; 2]; 3],
    batch: usize,
    kernel: Kernel,
    /// Inputs and weights, from the start again where there are not enough.
    numbers: &'a [u8],
}

impl<'a> Case<'a> {
    fn new(u: &mut Unstructured<'a>) -> Result<Self> {
        let any = u.ratio(1, 8)?;
        let size =
            |u: &mut Unstructured<'a>, largest| if any { any_size(u) } else { u.int_in_range(0..=largest) };
        let three =
            |u: &mut Unstructured<'a>, largest| Ok([size(u, largest)?, size(u, largest)?, size(u, largest)?]);
        let (transposed, groups, axes) = (u.arbitrary()?, size(u, 5)?, u.int_in_range(0..=4)?);
        let channels = [size(u, 9)?.wrapping_mul(groups), size(u, 40)?.wrapping_mul(groups)];
        let (mut kernel, stride, dilation) = (three(u, 4)?, three(u, 4)?, three(u, 4)?);
        let (mut input, front, behind) = (three(u, 12)?, three(u, 4)?, three(u, 4)?);
        let mut padding = [0, 1, 2].map(|axis| [front[axis], behind[axis]]);
        if !any {
            for axis in 0..3usize.saturating_sub(axes) {
                (kernel[axis], input[axis], padding[axis]) = (1, 1, [0; 2]);
            }
        }
        let spec = ConvSpec { axes, channels, groups, kernel, stride, dilation, transposed };
        let batch = u.int_in_range(0..=3)?;
        let kernels: Vec<_> = Kernel::all().into_iter().collect();
        let kernel = *u.choose(&kernels)?;
        Ok(Self { spec, input, padding, batch, kernel, numbers: u.bytes(u.len())? })
    }

    fn check(&self) {
        let cheap = self.cost() <= LARGEST;
        let output = self.output();
        match self.spec.geometry(self.input, self.padding) {
            Ok(geometry) => {
                assert_eq!(geometry.output().map(|size| Some(size as i128)), output, "{self:?}");
                if cheap {
                    assert!(geometry.fits_batch(self.batch), "{self:?}");
                    self.compute(&geometry);
                }
            }
            Err(GeometryError::NoOutput) => assert!(output.iter().any(Option::is_none), "{self:?}"),
            Err(GeometryError::TooLarge) => {
                // A transposed convolution's padding is cut off, and so no part of the cost.
                let steps = self.spec.stride.into_iter().chain(self.spec.dilation);
                let mut sizes = steps.chain(self.padding.into_iter().flatten());
                assert!(!cheap || sizes.any(|size| size as u128 > LARGEST), "{self:?}");
            }
            // The sizes of the convolution do not belong together.
            Err(_) => {}
        }
    }

    /// The last position of the filter along an axis, from its first.
    fn reach(&self, axis: usize) -> i128 {
        (self.spec.kernel[axis] as i128 - 1).saturating_mul(self.spec.dilation[axis] as i128)
    }

    /// The input along an axis with its padding; for a transposed convolution, the output before it is cut.
    fn extent(&self, axis: usize) -> i128 {
        let (input, [front, behind]) =
            (self.input[axis] as i128, self.padding[axis].map(|size| size as i128));
        if self.spec.transposed {
            (input - 1)
                .saturating_mul(self.spec.stride[axis] as i128)
                .saturating_add(self.reach(axis))
                .saturating_add(1 + behind)
        } else {
            input + front + behind
        }
    }

    /// The outputs along each axis, by their definition; `None` where there are none.
    fn output(&self) -> [Option<i128>; 3] {
        [0, 1, 2].map(|axis| {
            let (stride, front) = (self.spec.stride[axis] as i128, self.padding[axis][0] as i128);
            let outputs = if self.spec.transposed {
                self.extent(axis).saturating_sub(2 * front)
            } else {
                let room = self.extent(axis).saturating_sub(self.reach(axis));
                if room < 1 { 0 } else { (room - 1).checked_div(stride)? + 1 }
            };
            let has_input = self.input[axis] > 0 || !self.spec.transposed;
            Some(outputs).filter(|&outputs| outputs > 0 && has_input)
        })
    }

    /// The products, or the values of the input with its padding at each tap, if these are more.
    fn cost(&self) -> u128 {
        let product =
            |sizes: &[u128]| sizes.iter().fold(1, |cost: u128, &size| cost.saturating_mul(size.max(1)));
        let taps = product(&self.spec.kernel.map(|taps| taps as u128));
        let positions =
            [0, 1, 2].map(|axis| self.extent(axis).max(self.output()[axis].unwrap_or(0)).unsigned_abs());
        let [inputs, outputs] = self.spec.channels.map(|channels| channels as u128);
        let per_position = outputs.saturating_mul(inputs / (self.spec.groups as u128).max(1)).max(inputs);
        product(&[self.batch as u128, taps, product(&positions), per_position])
    }

    /// Compares the kernel with sums in `i64`.
    fn compute(&self, geometry: &ConvGeometry) {
        let layout = WeightLayout::Conv(self.spec);
        let sample = self.spec.channels[0] * self.input.iter().product::<usize>();
        let mut numbers = self.numbers.iter().chain(&[1]).cycle().map(|&number| number as i8);
        let mut x: Vec<i8> = numbers.by_ref().take(self.batch * sample).collect();
        // A sample with a -128 survives quantization unchanged: `QuantRange::Full` maps it to scale 1.
        x.chunks_mut(sample.max(1)).for_each(|sample| sample[sample.len() / 2] = -128);
        let w: Vec<i8> = numbers.take(layout.len()).collect();
        let expected = self.naive(&x, &w, geometry.output());

        let tensor = QTensor::new(w, vec![1.0; layout.channels()], layout).unwrap();
        let weights = PackedWeights::from_qtensor(&tensor);
        let values: Vec<_> = x.iter().map(|&x| f32::from(x)).collect();
        let input = ConvInput { values: &values, batch: self.batch, geometry, weights: &weights };
        // Float sums are rounded, each term by half an ulp of the sum so far.
        let largest = (layout.inputs() * 128 * 128) as f32 * 6e-8;
        let sums = accumulators(self.kernel, &input, QuantRange::Full);
        assert!(sums.iter().map(|&sum| i64::from(sum)).eq(expected.iter().copied()), "{self:?}");
        let floats = weight_only(self.kernel, &input, None);
        assert_eq!(floats.len(), expected.len(), "{self:?}");
        let close = floats.iter().zip(&expected).all(|(y, &sum)| (y - sum as f32).abs() <= largest);
        assert!(close, "{self:?}");
    }

    /// The sums by another way than the kernels': each input and each tap adds to the output that it reaches.
    fn naive(&self, x: &[i8], w: &[i8], output: [usize; 3]) -> Vec<i64> {
        let volume = |size: [usize; 3]| size.iter().product::<usize>();
        let at = |i: usize, size: [usize; 3]| [i / size[2] / size[1], i / size[2] % size[1], i % size[2]];
        let ([inputs, outputs], kernel) = (self.spec.group_channels(), self.spec.kernel);
        let mut sums = vec![0; self.batch * self.spec.channels[1] * volume(output)];
        for (index, &x) in x.iter().enumerate() {
            let (plane, from) = (index / volume(self.input), at(index % volume(self.input), self.input));
            let (sample, channel) = (plane / self.spec.channels[0], plane % self.spec.channels[0]);
            let first = channel / inputs * outputs;
            for tap in 0..volume(kernel) {
                let taps = at(tap, kernel);
                let reached = [0, 1, 2].map(|axis| self.reached(axis, from[axis], taps[axis], output[axis]));
                let [Some(z), Some(y), Some(x_at)] = reached else { continue };
                for to in first..first + outputs {
                    let pair = if self.spec.transposed {
                        channel * outputs + to - first
                    } else {
                        to * inputs + channel % inputs
                    };
                    let plane = sample * self.spec.channels[1] + to;
                    let sum = &mut sums[plane * volume(output) + (z * output[1] + y) * output[2] + x_at];
                    *sum += i64::from(x) * i64::from(w[pair * volume(kernel) + tap]);
                }
            }
        }
        sums
    }

    /// The output along an axis that the input at `from` reaches under `tap`.
    fn reached(&self, axis: usize, from: usize, tap: usize, output: usize) -> Option<usize> {
        let (stride, front) = (self.spec.stride[axis], self.padding[axis][0]);
        let shift = tap * self.spec.dilation[axis];
        let to = if self.spec.transposed {
            (from * stride + shift).checked_sub(front)?
        } else {
            let position = (from + front).checked_sub(shift)?;
            position.is_multiple_of(stride).then_some(position / stride)?
        };
        Some(to).filter(|&to| to < output)
    }
}

/// A small size, a power of two or nearly one, or any other.
fn any_size(u: &mut Unstructured<'_>) -> Result<usize> {
    match u.int_in_range(0..=3)? {
        0 | 1 => u.int_in_range(0..=4),
        2 => Ok((1usize << u.int_in_range(0..=63)?).wrapping_add(u.int_in_range(0..=4)?).wrapping_sub(2)),
        _ => u.arbitrary(),
    }
}
