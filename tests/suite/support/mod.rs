//! The models and values that the tests share.

pub mod models;
