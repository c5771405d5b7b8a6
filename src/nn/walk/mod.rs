//! The meeting of a layer and someone who walks through a model.
//!
//! Burn shows a visitor or a mapper parameters, never layers. The layers of this crate recognise two walkers by their type and
//! show them more: [`LayerVisitor`] with any [`LayerWalker`] in it, and [`QuantizeMapper`] with any [`LayerRule`].

mod facts;
mod parameter;
mod path;
mod swap;
mod visit;

pub(crate) use facts::{FloatBytes, FloatFacts, Int8Facts};
pub(crate) use parameter::{FloatParameter, ParameterState, quantize_parameter, shape_of_product};
pub(crate) use path::{BurnsParameter, ModulePath};
pub use swap::QuantizeMapper;
pub(crate) use swap::{Decision, HowToQuantize, LayerRule, Swapped};
pub(crate) use visit::{LayerVisitor, LayerWalker};
