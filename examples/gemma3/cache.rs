//! Keys and values of the tokens so far.
//!
//! Keys are kept as they are after their rotation, so that their order does not matter to attention: a layer keeps a ring of
//! as many tokens as it sees, and a new token takes the place of the oldest.

use std::ops::Range;

use burn::prelude::*;

use crate::config::GemmaConfig;

/// Tokens that a layer has room for at first; it grows by doubling.
const FIRST: usize = 64;

/// Of all layers, for one text, or for several of the same length.
pub struct Cache<B: Backend> {
    pub layers: Vec<LayerCache<B>>,
    /// How many tokens it has.
    position: usize,
    /// How many tokens it can have.
    limit: usize,
}

impl<B: Backend> Cache<B> {
    pub fn new(config: &GemmaConfig) -> Self {
        let limit = config.max_position_embeddings;
        let local = limit.min(config.sliding_window);
        let slots = |layer| if config.is_local(layer) { local } else { limit };
        let layers = (0..config.num_hidden_layers).map(|layer| LayerCache::new(slots(layer))).collect();
        Self { layers, position: 0, limit }
    }

    /// How many tokens may follow.
    pub fn room(&self) -> usize {
        self.limit - self.position
    }

    /// How many tokens there are.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Counts tokens that all layers have seen.
    pub fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }
}

/// The tokens that a forward pass adds.
#[derive(Clone, Copy)]
pub struct Step {
    /// How many there are already.
    pub position: usize,
    /// How many are added.
    pub tokens: usize,
}

impl Step {
    /// The positions of the keys that the tokens attend to in a layer with so many slots, in their order.
    fn keys(&self, slots: usize) -> Vec<usize> {
        let old = self.position.min(slots);
        // The last position before this step that is in the slot.
        let in_slot = |slot| slot + (self.position - 1 - slot) / slots * slots;
        (0..old).map(in_slot).chain(self.position..self.position + self.tokens).collect()
    }

    /// `[tokens, keys]`, true where a token must not look: into the future, or farther back than the layer has slots. None
    /// for a single token, which sees all that is there.
    pub fn mask<B: Backend>(&self, slots: usize, device: &B::Device) -> Option<Tensor<B, 2, Bool>> {
        if self.tokens == 1 {
            return None;
        }
        let keys = self.keys(slots);
        let hidden = |token: usize| keys.iter().map(move |&key| key > token || token - key >= slots);
        let mask: Vec<_> = (self.position..self.position + self.tokens).flat_map(hidden).collect();
        Some(Tensor::from_data(TensorData::new(mask, [self.tokens, keys.len()]), device))
    }

    /// Which of its tokens go where, in pieces that lie side by side.
    fn pieces(&self, slots: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let end = self.position + self.tokens;
        let first = end - self.tokens.min(slots);
        let wrap = first.next_multiple_of(slots).min(end);
        let piece = move |from: usize, to: usize| (from - self.position..to - self.position, from % slots);
        [(first, wrap), (wrap, end)].into_iter().filter(|(from, to)| from < to).map(move |(a, b)| piece(a, b))
    }
}

/// Of one layer.
pub struct LayerCache<B: Backend> {
    slots: usize,
    /// Keys and values, `[batch, heads, capacity, width]`.
    kept: Option<[Tensor<B, 4>; 2]>,
}

impl<B: Backend> LayerCache<B> {
    fn new(slots: usize) -> Self {
        Self { slots, kept: None }
    }

    /// How many tokens it sees.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// How many tokens it has memory for.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.kept.as_ref().map_or(0, |[keys, _]| keys.dims()[2])
    }

    /// Adds keys and values `[batch, heads, tokens, width]` and gives all that the tokens of this step may attend to.
    pub fn add(&mut self, step: Step, new: [Tensor<B, 4>; 2]) -> [Tensor<B, 4>; 2] {
        let [batch, heads, tokens, width] = new[0].dims();
        let (slots, old) = (self.slots, step.position.min(self.slots));
        // A step may push out of the ring what its first tokens see still.
        let seen = (tokens > 1).then(|| match &self.kept {
            Some(kept) if old > 0 => join(kept.each_ref().map(|kept| kept.clone().narrow(2, 0, old)), &new),
            _ => new.clone(),
        });
        let mut kept = self.with_room_for((step.position + tokens).min(slots), &new[0]);
        for (from, slot) in step.pieces(slots) {
            let there = [0..batch, 0..heads, slot..slot + from.len(), 0..width];
            let from = new.each_ref().map(|new| new.clone().narrow(2, from.start, from.len()));
            kept = pairs(kept, from, |kept, from| kept.slice_assign(there.clone(), from));
        }
        let filled = (step.position + tokens).min(slots);
        let seen = seen.unwrap_or_else(|| kept.each_ref().map(|kept| kept.clone().narrow(2, 0, filled)));
        self.kept = Some(kept);
        seen
    }

    /// What is kept, taken out so that nobody shares it and it is changed in place.
    fn with_room_for(&mut self, tokens: usize, like: &Tensor<B, 4>) -> [Tensor<B, 4>; 2] {
        let [batch, heads, _, width] = like.dims();
        let (device, dtype) = (like.device(), like.dtype());
        let zeros = |capacity| Tensor::zeros([batch, heads, capacity, width], (&device, dtype));
        let capacity = tokens.next_power_of_two().max(FIRST).min(self.slots);
        match self.kept.take() {
            None => [zeros(capacity), zeros(capacity)],
            Some(kept) if kept[0].dims()[2] >= tokens => kept,
            Some(kept) => kept.map(|kept| {
                let more = capacity - kept.dims()[2];
                Tensor::cat(vec![kept, zeros(more)], 2)
            }),
        }
    }
}

fn join<B: Backend>(old: [Tensor<B, 4>; 2], new: &[Tensor<B, 4>; 2]) -> [Tensor<B, 4>; 2] {
    pairs(old, new.clone(), |old, new| Tensor::cat(vec![old, new], 2))
}

/// The same of keys and of values.
fn pairs<T>([a, b]: [T; 2], [c, d]: [T; 2], f: impl Fn(T, T) -> T) -> [T; 2] {
    [f(a, c), f(b, d)]
}
