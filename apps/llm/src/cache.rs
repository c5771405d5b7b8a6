//! The keys and values of the tokens so far, so that each is computed once.

use burn::prelude::*;

use crate::config::{DecoderConfig, Span};
use crate::error::ModelError;
use crate::rope::{Frequencies, Rotation};
use crate::slots::{Plan, Slots};

/// The memory of a model in one run, in which texts of a batch go on side by side.
///
/// Keys are kept with their positions turned in, so that the order they lie in does not matter: a local layer overwrites
/// the token that has just left its window, a global one grows.
#[derive(Clone, Debug)]
pub struct Cache<B: Backend> {
    layers: Vec<LayerCache<B>>,
    kinds: Vec<Kind>,
    context: usize,
    length: usize,
}

/// The facts that layers of one span have in common.
#[derive(Clone, Debug)]
struct Kind {
    span: Span,
    slots: Slots,
    frequencies: Frequencies,
}

impl<B: Backend> Cache<B> {
    /// An empty one. It takes memory as tokens come.
    pub fn new(config: &DecoderConfig) -> Self {
        let context = config.max_position_embeddings;
        let mut kinds: Vec<Kind> = Vec::new();
        let mut kind_of = |span: &Span| {
            kinds.iter().position(|kind| kind.span == *span).unwrap_or_else(|| {
                kinds.push(Kind {
                    span: *span,
                    slots: Slots::new(span.window.min(context)),
                    frequencies: Frequencies::new(span.rope_theta, config.head_dim),
                });
                kinds.len() - 1
            })
        };
        let layers = config.layers.iter().map(|span| LayerCache::new(kind_of(span))).collect();
        Self { layers, kinds, context, length: 0 }
    }

    /// The number of tokens in it.
    #[cfg(test)]
    pub fn length(&self) -> usize {
        self.length
    }

    /// The number of tokens that still fit in.
    pub fn room(&self) -> usize {
        self.context - self.length
    }

    /// Checks that so many tokens fit in, which is to be asked before they are given to the model.
    pub fn check_room(&self, needed: usize) -> Result<(), ModelError> {
        match self.room() {
            room if needed > room => Err(ModelError::Context { needed, room }),
            _ => Ok(()),
        }
    }

    /// The number of tokens that a layer has memory for.
    #[cfg(test)]
    pub fn slots(&self, layer: usize) -> usize {
        self.layers[layer].keys.as_ref().map_or(0, |keys| keys.dims()[1])
    }

    /// The keys and the values of a layer, unless it has none yet.
    #[cfg(test)]
    pub fn layer(&self, layer: usize) -> Option<[Tensor<B, 4>; 2]> {
        let layer = &self.layers[layer];
        Some([layer.keys.clone()?, layer.values.clone()?])
    }

    /// Makes place for new tokens and says what the layers do with them, which are then given out, too.
    pub fn advance(&mut self, tokens: usize, device: &B::Device) -> (Steps<B>, &mut [LayerCache<B>]) {
        let room = self.room();
        assert!((1..=room).contains(&tokens), "Cache: {tokens} tokens, 1 to {room} can be added");
        let start = self.length;
        let step = |kind: &mut Kind| {
            let plan = kind.slots.plan(start, tokens);
            let rotation = kind.frequencies.rotation(start, tokens, device);
            Step { rotation, hidden: hidden(&plan, device), plan }
        };
        let steps = Steps(self.kinds.iter_mut().map(step).collect());
        self.length += tokens;
        (steps, &mut self.layers)
    }
}

/// One call of the model, as the layers of each kind see it.
pub struct Steps<B: Backend>(Vec<Step<B>>);

impl<B: Backend> Steps<B> {
    /// The step of the cache that a layer of these steps has.
    pub fn of(&self, layer: &LayerCache<B>) -> &Step<B> {
        &self.0[layer.kind]
    }
}

/// The part of a step that does not depend on the layer: it is computed once.
pub struct Step<B: Backend> {
    pub rotation: Rotation<B>,
    /// True where a query does not see a key, `[1, tokens, width]`; none if each sees all.
    pub hidden: Option<Tensor<B, 3, Bool>>,
    plan: Plan,
}

fn hidden<B: Backend>(plan: &Plan, device: &B::Device) -> Option<Tensor<B, 3, Bool>> {
    let hidden: Vec<bool> = plan.visible()?.iter().map(|visible| !visible).collect();
    let shape = [1, hidden.len() / plan.width(), plan.width()];
    Some(Tensor::from_data(TensorData::new(hidden, shape), device))
}

/// The keys and values of one layer.
#[derive(Clone, Debug)]
pub struct LayerCache<B: Backend> {
    /// The place of its kind in the cache.
    kind: usize,
    /// `[batch, slots, heads, head_dim]`, as the values.
    keys: Option<Tensor<B, 4>>,
    values: Option<Tensor<B, 4>>,
}

impl<B: Backend> LayerCache<B> {
    fn new(kind: usize) -> Self {
        Self { kind, keys: None, values: None }
    }

    /// Adds those of new tokens, in the shapes of the fields, and gives all that the queries have before them.
    pub fn add(&mut self, keys: Tensor<B, 4>, values: Tensor<B, 4>, step: &Step<B>) -> [Tensor<B, 4>; 2] {
        [add(&mut self.keys, keys, &step.plan), add(&mut self.values, values, &step.plan)]
    }
}

fn add<B: Backend>(stored: &mut Option<Tensor<B, 4>>, new: Tensor<B, 4>, plan: &Plan) -> Tensor<B, 4> {
    // Taken out: nobody else may hold on to it, or writing into it would copy it.
    let before = stored.take();
    if !plan.joined {
        let after = write(before, new, plan);
        return stored.insert(after).clone();
    }
    let seen = match &before {
        Some(before) => Tensor::cat(vec![before.clone(), new.clone()], 1),
        None => new.clone(),
    };
    *stored = Some(write(before, new, plan));
    seen
}

fn write<B: Backend>(before: Option<Tensor<B, 4>>, new: Tensor<B, 4>, plan: &Plan) -> Tensor<B, 4> {
    let mut slots = grow(before, &new, plan.capacity);
    for write in &plan.writes {
        let part = match write.count {
            count if count == new.dims()[1] => new.clone(),
            count => new.clone().narrow(1, write.from, count),
        };
        slots = slots.slice_assign(place(part.dims(), write.slot), part);
    }
    slots
}

/// Makes as many slots as there must be. Empty ones are zeros, not just any memory: 0 times what is in them must be 0.
fn grow<B: Backend>(before: Option<Tensor<B, 4>>, new: &Tensor<B, 4>, capacity: usize) -> Tensor<B, 4> {
    let mut shape = new.dims();
    shape[1] = capacity;
    match before {
        Some(before) if before.dims() == shape => before,
        Some(before) => {
            let place = place(before.dims(), 0);
            Tensor::zeros(shape, &new.device()).slice_assign(place, before)
        }
        None => Tensor::zeros(shape, &new.device()),
    }
}

/// The place of a tensor of this shape that begins at a slot.
fn place(shape: [usize; 4], slot: usize) -> [std::ops::Range<usize>; 4] {
    let mut place = shape.map(|size| 0..size);
    place[1] = slot..slot + shape[1];
    place
}
