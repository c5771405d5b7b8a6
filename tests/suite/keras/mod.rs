//! Keras' own numbers (`tests/golden`) against the layers, on every backend, and every CPU kernel.
//!
//! Keras adds `1e-7` to an absmax before it divides, we do not. Where that shows in an integer, `golden::CASES` names it, and
//! what depends on it is compared with exact arithmetic in `f64` instead.
//!
//! | file | what it holds |
//! |---|---|
//! | `golden` | the layers of Keras' files |
//! | `reference` | what Keras computes, and how near a number must be |
//! | `layers` | linear layers |
//! | `tables` | `Embedding` and `ReversibleEmbedding`, tied and untied |

mod golden;
mod layers;
mod reference;
mod tables;
