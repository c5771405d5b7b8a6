//! Two LSTMs, one behind the other, and the last output of the second one.

use burn::nn::{Lstm, LstmConfig};
use burn::prelude::*;

use super::Network;

pub const HIDDEN: usize = 512;

#[derive(Module, Debug)]
pub struct TwoLstms<B: Backend> {
    first: Lstm<B>,
    second: Lstm<B>,
}

impl<B: Backend> TwoLstms<B> {
    pub fn new(device: &B::Device) -> Self {
        let lstm = || LstmConfig::new(HIDDEN, HIDDEN, true).init(device);
        Self { first: lstm(), second: lstm() }
    }
}

impl<B: Backend> Network<B> for TwoLstms<B> {
    type Input = Tensor<B, 3>;

    fn forward(&self, x: Self::Input) -> Tensor<B, 2> {
        let (x, _) = self.first.forward(x, None);
        let (_, state) = self.second.forward(x, None);
        state.hidden
    }
}
